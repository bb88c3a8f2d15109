"""The work of one loop at one moment. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from .search import delayed_entries, in_flight, lanes_by_place

if TYPE_CHECKING:
    from .scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class LoopStatus:
    """Where a loop's tasks are.

    Parameters
    ----------
    waiting, delayed, released, running:
        Tasks in lanes, tasks whose time has not come, tasks that no worker has begun yet, tasks that run.
    held_by:
        The scopes that its lanes are parked at, such as `service:llm_api`; none if nothing holds it.
    """

    waiting: int
    delayed: int
    released: int
    running: int
    held_by: tuple[str, ...]

    def __str__(self) -> str:
        held = f"; held by {', '.join(self.held_by)}" if self.held_by else ""
        return f"{self.waiting} waiting, {self.delayed} delayed, {self.released} released, {self.running} running{held}"


def loop_status(scheduler: Scheduler, loop: str) -> LoopStatus:
    """Count the tasks of a loop. Looks through all lanes, all delayed tasks and all leases of the realm."""
    places = [(gate, lane) for gate, lane in lanes_by_place(scheduler) if lane.scopes.loop == loop]
    pipe: Any = scheduler.client.pipeline(transaction=False)
    for _, lane in places:
        pipe.llen(scheduler.keys(f"lane:{lane.name}"))
    claimants = [claimant for _, claimant, lane in in_flight(scheduler) if lane.scopes.loop == loop]
    return LoopStatus(
        waiting=sum(pipe.execute() if places else ()),
        delayed=sum(lane.scopes.loop == loop for lane, _ in delayed_entries(scheduler)),
        released=claimants.count(b""),
        running=len(claimants) - claimants.count(b""),
        held_by=tuple(sorted({gate.rpartition("|")[0] for gate, _ in places if gate})),
    )


def tasks_without_worker(scheduler: Scheduler, loop: str) -> Iterator[str]:
    """The loop's tasks that wait, those that would run last first, and then the delayed ones."""
    for _, lane in lanes_by_place(scheduler):
        if lane.scopes.loop == loop:
            elements = cast("list[bytes]", scheduler.client.lrange(scheduler.keys(f"lane:{lane.name}"), 0, -1))
            yield from (_task_of(element) for element in reversed(elements))
    for lane, entry in delayed_entries(scheduler):
        if lane.scopes.loop == loop:
            yield _task_of(entry.partition(b"\x1e")[2])


def _task_of(element: bytes) -> str:
    return element.split(b"\x1f", 2)[2].decode()
