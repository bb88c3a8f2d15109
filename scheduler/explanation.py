"""Where a task is, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ..limits.limit import SECOND_US, LimitKind
from ..limits.priority import name_of


class TaskState(StrEnum):
    """What the scheduler knows of a task.

    WAITING in its lane, DELAYED until its time comes, RELEASING while it is published to a broker elsewhere,
    RELEASED to the broker's queue, RUNNING, or UNKNOWN: unlimited, ended, or never seen.
    """

    WAITING = "waiting"
    DELAYED = "delayed"
    RELEASING = "releasing"
    RELEASED = "released"
    RUNNING = "running"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Held:
    """What has held a lane back.

    Parameters
    ----------
    by:
        The scope, and the unit of its limits, such as `service:llm_api requests`.
    last_s_ago:
        Seconds since it last took the lane in; the lane may still be there.
    """

    by: str
    last_s_ago: float

    def __str__(self) -> str:
        return f"{self.by} {self.last_s_ago:.1f} s ago"


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
        task's own start, if others wait before it. `inf` where nobody knows: a scope is paused, or its
        slots are taken until work ends.
    expected_in_s:
        Seconds until the task will be released, if nobody new comes and what goes first costs as much as it does; for a
        delayed one, until its time comes. None where nobody knows: what holds it is paused, or waits for work to
        end. `scheduler/lua/parts/forecast.lua` has the formula.
    reserved_for:
        The priority from which on that limit would let it go now: what is left of it is reserved. None if that is not why.
    history:
        What has held the lane of a waiting task in the last hour, the latest first.
    """

    task: str
    state: TaskState
    ahead: int = 0
    held_by: str = ""
    opens_in_s: float = 0.0
    expected_in_s: float | None = None
    reserved_for: int | None = None
    history: tuple[Held, ...] = ()

    def __str__(self) -> str:
        if self.state is TaskState.DELAYED:
            return f"{self.task}: delayed for {self.opens_in_s:.1f} s more"
        if self.state is not TaskState.WAITING:
            return f"{self.task}: {self.state}"
        start = "" if self.expected_in_s is None else f"; expected to start in {self.expected_in_s:.1f} s"
        return f"{self.task}: waiting, {self.ahead} ahead in its lane, {self._held}{start}"

    def to_dict(self) -> dict[str, Any]:
        """Numbers and text, ready for JSON; `opens_in_s` is None where it is infinite."""
        opens_in_s = None if self.opens_in_s == math.inf else self.opens_in_s
        return {**asdict(self), "state": str(self.state), "opens_in_s": opens_in_s}

    @property
    def _held(self) -> str:
        if not self.held_by:
            return "no limit holds it"
        reserve = f" (what is left is reserved for {name_of(self.reserved_for)} and above)" if self.reserved_for else ""
        if self.held_by.endswith(f" {LimitKind.IN_FLIGHT}") and self.opens_in_s == math.inf:
            return f"held by {self.held_by}{reserve}, which opens when work ends"
        if self.opens_in_s == math.inf:
            return f"held until it is resumed: {self.held_by}"
        return f"held by {self.held_by}{reserve}, which opens in {self.opens_in_s:.1f} s"


def explanation(task: str, reply: Sequence[Any]) -> Explanation:
    """What `explain.lua` replies about the task."""
    state, ahead, scope, limit, in_us, start_us, reserved_for, *held = reply
    wait_us, expected_us = int(in_us), int(start_us)
    return Explanation(
        task,
        TaskState(state.decode()),
        ahead,
        f"{scope.decode()} {limit.decode()}".strip(),
        opens_in_s=wait_us / SECOND_US if wait_us >= 0 else math.inf,
        expected_in_s=expected_us / SECOND_US if expected_us >= 0 else None,
        reserved_for=int(reserved_for) or None,
        history=tuple(
            Held(gate.decode().replace("|", " "), int(ago_us) / SECOND_US)
            for gate, ago_us in zip(held[::2], held[1::2], strict=True)
        ),
    )
