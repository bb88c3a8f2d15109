"""A lane: the FIFO of waiting tasks that share priority, target queue and scopes. The unit of scheduling."""

from __future__ import annotations

from dataclasses import dataclass

from ..limits.priority import Priority
from ..limits.scope import TaskScopes

__all__ = ["Lane", "Priority"]

_SEPARATOR = "\x1f"
_UNLIMITED = "*"
_NO_SCOPES = TaskScopes()


@dataclass(frozen=True, slots=True)
class Lane:
    """What tasks must share to wait in one line.

    Parameters
    ----------
    queue:
        Key of the broker's list that a release goes to.
    priority:
        0 to 9, higher first.
    scopes:
        Whose limits apply.
    unlimited:
        No limit applies, not even the global one. Such work is here for its delay alone.
    """

    queue: str
    priority: int = Priority.NORMAL
    scopes: TaskScopes = _NO_SCOPES
    unlimited: bool = False

    @property
    def name(self) -> str:
        """How the scripts call the lane; `scheduler/lua/parts/lane.lua` reads it."""
        scopes = self.scopes
        service = _UNLIMITED if self.unlimited else scopes.service
        return _SEPARATOR.join((str(int(self.priority)), self.queue, service, scopes.endpoint, scopes.loop_type, scopes.loop))

    @classmethod
    def from_name(cls, name: str) -> Lane:
        priority, queue, service, endpoint, loop_type, loop = name.split(_SEPARATOR, 5)
        unlimited = service == _UNLIMITED
        scopes = _NO_SCOPES if unlimited else TaskScopes(service, endpoint, loop_type, loop)
        return cls(queue, int(priority), scopes, unlimited)
