"""A waiting task: a message that was accepted and is not released yet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .lane import Lane


class Submitted(StrEnum):
    """What became of a submit. EXPIRED: its deadline was over, so its caller is told, and it never runs."""

    RELEASED = "released"
    WAITING = "waiting"
    DELAYED = "delayed"
    KNOWN = "known"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class CoalescedInto:
    """What became of a submit that stored nothing, because a task with its key waits already.

    Parameters
    ----------
    task:
        That task's id.
    """

    task: str


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """A message that Turgor has accepted and not yet released.

    Parameters
    ----------
    task:
        The task's id, with its attempt if it is not the first.
    token:
        8 bytes, new for each submit, the same when a submit is repeated.
    lane:
        Where it waits.
    template:
        The broker's envelope, with a NUL byte where the fence goes and one where the delivery tag goes; see
        `CoalesceKey.mark`.
    weight, tokens:
        What it costs, in request units and in token units.
    continues:
        Whether it goes on with work that was accepted before, so that it finds room everywhere.
    due_us:
        Not before this time (µs since the epoch); None for at once.
    max_wait_s:
        Seconds that it may wait once it is due; None for as long as it takes.
    deadline_us:
        Not after this time (µs since the epoch); None for any time.
    """

    task: str
    token: bytes
    lane: Lane
    template: bytes
    weight: int = 1
    tokens: int = 0
    due_us: int | None = None
    max_wait_s: float | None = None
    deadline_us: int | None = None
    continues: bool = False
