from __future__ import annotations

import time
from collections.abc import Iterator

from apps import one_limit
from bench import Bench
from figure import Figure
from realm import UNBOUND
from spread import Spread, interleave, ratio

from crew import Crew

_GOAL, _LEASED_GOAL = 0.9, 1.5
_PLAIN = "plain Celery"


class _Worker:
    """A worker that is given tasks while it is frozen, and then works them off."""

    def __init__(self, bench: Bench, crew: Crew, tasks: int) -> None:
        self._server, self._crew, self._tasks = bench.server, crew, tasks
        self.server_us: list[float] = []
        self.own_us: list[float] = []
        self._work(tasks // 10)

    def rate(self) -> float:
        """Tasks a second."""
        seconds, server_us, own_us = self._work(self._tasks)
        self.server_us.append(server_us / self._tasks)
        self.own_us.append(own_us / self._tasks)
        return self._tasks / seconds

    def _work(self, tasks: int) -> tuple[float, float, float]:
        """The seconds that so many tasks take, the server's CPU and the worker's."""
        self._crew.freeze()
        for number in range(tasks):
            self._crew.application.noop.delay(number)
        own_s = self._crew.cpu_s()
        with self._server.watched() as watch:
            started = time.perf_counter()
            self._crew.thaw()
            self._crew.wait_until_drained()
            seconds = time.perf_counter() - started
        return seconds, watch.cpu_us, (self._crew.cpu_s() - own_s) * 1e6


def measure(bench: Bench) -> Iterator[Figure]:
    """Tasks that do nothing, through a worker with two processes: with Turgor, under a limit that does not bind, every start
    claimed and every end reported; with `lease_all` and no limits, so is every start and end there; and with plain Celery. They
    wait while the worker is stopped; the time runs from the moment it goes on until the last task has ended.
    """
    tasks = bench.size(50, 5_000)
    databases = [bench.server.database(number) for number in range(3)]
    with (
        Crew(databases[0], one_limit(UNBOUND)) as limited,
        Crew(databases[1], None) as plain,
        Crew(databases[2], {}, lease_all=True) as leased,
    ):
        crews = {"Turgor": limited, "Turgor, lease_all": leased, _PLAIN: plain}
        workers = {name: _Worker(bench, crew, tasks) for name, crew in crews.items()}
        found = interleave(bench.size(1, 3), {name: worker.rate for name, worker in workers.items()})
    for name, worker in workers.items():
        yield Figure(f"tasks a second, {name}", f"{Spread.of(found[name]):,.0f}")
        yield Figure(f"CPU per task, {name}: the worker's processes", f"{Spread.of(worker.own_us):.0f} µs")
        yield Figure(f"CPU per task, {name}: Redis", f"{Spread.of(worker.server_us):.0f} µs")
    for name, goal in (("Turgor", _GOAL), ("Turgor, lease_all", _LEASED_GOAL)):
        share = ratio(found, name, _PLAIN)
        yield Figure(f"tasks a second, {name} / {_PLAIN}", f"{share:.2f}", f"≥ {goal:.2f}", share.median >= goal)
