"""An expired task: it was taken out, and its caller is to be told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExpiredTask:
    """A task that was taken out and whose caller is to be told, with its envelope and the holes in it.

    It waited too long (`held_by`: the limit that held it, `""` for none), somebody `revoked` it, or it was dropped for others,
    because the backlog of a scope was full (`shed_by`).
    """

    task: str
    held_by: str
    template: bytes
    revoked: bool = False
    shed_by: str = ""
