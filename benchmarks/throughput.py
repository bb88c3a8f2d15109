from __future__ import annotations

import time
from collections.abc import Iterator

from apps import one_limit
from bench import Bench
from figure import Figure
from realm import UNBOUND
from spread import Spread, interleave, ratio

from crew import Crew

_GOAL = 0.9


class _Worker:
    """A worker that is given tasks while it is frozen, and then works them off."""

    def __init__(self, bench: Bench, crew: Crew, tasks: int) -> None:
        self._server, self._crew, self._tasks = bench.server, crew, tasks
        self.cpu_us: list[float] = []
        self._work(tasks // 10)

    def rate(self) -> float:
        """Tasks a second."""
        seconds, cpu_us = self._work(self._tasks)
        self.cpu_us.append(cpu_us / self._tasks)
        return self._tasks / seconds

    def _work(self, tasks: int) -> tuple[float, float]:
        """The seconds that so many tasks take, and the server's CPU."""
        self._crew.freeze()
        for number in range(tasks):
            self._crew.application.noop.delay(number)
        with self._server.watched() as watch:
            started = time.perf_counter()
            self._crew.thaw()
            self._crew.wait_until_drained()
            seconds = time.perf_counter() - started
        return seconds, watch.cpu_us


def measure(bench: Bench) -> Iterator[Figure]:
    """Tasks that do nothing, through a worker with two processes: with Turgor, under a limit that does not bind, every start
    claimed and every end reported; and with plain Celery. They wait while the worker is stopped; the time runs from the moment
    it goes on until the last task has ended.
    """
    tasks = bench.size(50, 5_000)
    with Crew(bench.server.database(0), one_limit(UNBOUND)) as limited, Crew(bench.server.database(1), None) as plain:
        workers = {"Turgor": _Worker(bench, limited, tasks), "plain Celery": _Worker(bench, plain, tasks)}
        found = interleave(bench.size(1, 3), {name: worker.rate for name, worker in workers.items()})
    for name, worker in workers.items():
        yield Figure(f"tasks a second, {name}", f"{Spread.of(found[name]):,.0f}")
        yield Figure(f"Redis CPU per task, {name}", f"{Spread.of(worker.cpu_us):.0f} µs")
    share = ratio(found, "Turgor", "plain Celery")
    yield Figure("tasks a second, Turgor / plain Celery", f"{share:.2f}", f"≥ {_GOAL:.2f}", share.median >= _GOAL)
