"""The loops: agents that keep enqueueing more than the limits allow.

    python -m turgor.examples.demo.loops

Planners and coders ask for less than there is, and their calls go first; reviewers ask for more than what is left,
and one of them for three times as much as the others.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from turgor.scheduler.survey import survey
from turgor.worker import Priority

from .app import commit, complete, turgor, write_file

URGENT_SHARE = 0.05
MOST_WAITING = 100
_LOOK_EVERY_S = 1.0
_MOST_LANES = 200


@dataclass(frozen=True, slots=True)
class Loop:
    """One agent. In a step it thinks, writes some files, and now and then commits."""

    name: str
    loop_type: str
    priority: Priority
    steps_per_s: float

    def step(self) -> None:
        tokens = random.randint(500, 1500)
        self._call(complete, tokens, tokens=tokens)
        for _ in range(random.randint(3, 4)):
            self._call(write_file)
        if random.random() < 0.5:
            self._call(commit)

    def _call(self, task: Any, *arguments: int, **cost: int) -> None:
        priority = Priority.CRITICAL if random.random() < URGENT_SHARE else self.priority
        task.apply_async(arguments, loop=self.name, loop_type=self.loop_type, priority=priority, **cost)

    @property
    def pause_s(self) -> float:
        """The time to the next step; steps are not in time with each other."""
        return random.uniform(0.5, 1.5) / self.steps_per_s


LOOPS = (
    Loop("planner-1", "planner", Priority.HIGH, 0.5),
    Loop("planner-2", "planner", Priority.HIGH, 0.5),
    Loop("planner-3", "planner", Priority.HIGH, 0.5),
    Loop("coder-1", "coder", Priority.NORMAL, 0.9),
    Loop("coder-2", "coder", Priority.NORMAL, 0.9),
    Loop("coder-3", "coder", Priority.NORMAL, 0.9),
    Loop("reviewer-1", "reviewer", Priority.LOW, 1.2),
    Loop("reviewer-2", "reviewer", Priority.LOW, 1.2),
    Loop("reviewer-3", "reviewer", Priority.LOW, 3.6),
)


class Backlog:
    """Which loops have so much waiting that more would be of no use. Looks once a second."""

    def __init__(self) -> None:
        self._full: frozenset[str] = frozenset()
        self._look_at = 0.0

    def is_full(self, loop: Loop) -> bool:
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_EVERY_S
            lanes = survey(turgor.client, turgor.keys, most=_MOST_LANES).lanes
            self._full = frozenset(waiting.lane.scopes.loop for waiting in lanes if waiting.tasks >= MOST_WAITING)
        return loop.name in self._full


def run(loops: Iterable[Loop]) -> None:
    """Let each loop step in its own time, for ever."""
    backlog, count = Backlog(), itertools.count()
    due = [(time.monotonic() + loop.pause_s, next(count), loop) for loop in loops]
    heapq.heapify(due)
    while True:
        at, _, loop = due[0]
        time.sleep(max(0.0, at - time.monotonic()))
        if not backlog.is_full(loop):
            loop.step()
        heapq.heapreplace(due, (at + loop.pause_s, next(count), loop))


if __name__ == "__main__":
    run(LOOPS)
