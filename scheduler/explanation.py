"""Where a task is, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class TaskState(StrEnum):
    """What the scheduler knows of a task.

    WAITING in its lane, DELAYED until its time comes, RELEASED to the broker's queue, RUNNING, or
    UNKNOWN: unlimited, ended, or never seen.
    """

    WAITING = "waiting"
    DELAYED = "delayed"
    RELEASED = "released"
    RUNNING = "running"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer of `Turgor.explain`.

    Parameters
    ----------
    task:
        The task's id.
    state:
        Where it is.
    ahead:
        Tasks that wait before it in its lane.
    held_by:
        The limit that would refuse it now, such as `service:llm_api requests/1m`; `""` for none.
    opens_in_s:
        Seconds until that limit would let one task of this cost go, or until the delay ends. Not the
        task's own start, if others wait before it. `inf` where nobody knows: a scope is paused.
    """

    task: str
    state: TaskState
    ahead: int = 0
    held_by: str = ""
    opens_in_s: float = 0.0

    def __str__(self) -> str:
        if self.state is TaskState.DELAYED:
            return f"{self.task}: delayed for {self.opens_in_s:.1f} s more"
        if self.state is not TaskState.WAITING:
            return f"{self.task}: {self.state}"
        return f"{self.task}: waiting, {self.ahead} ahead in its lane, {self._held}"

    @property
    def _held(self) -> str:
        if not self.held_by:
            return "no limit holds it"
        if self.opens_in_s == math.inf:
            return f"held until it is resumed: {self.held_by}"
        return f"held by {self.held_by}, which opens in {self.opens_in_s:.1f} s"
