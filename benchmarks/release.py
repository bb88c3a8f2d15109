from __future__ import annotations

import time
from collections.abc import Iterator

from bench import Bench
from figure import Figure
from realm import Realm
from redis import Redis
from spread import Spread, interleave, ratio


class _Backlog:
    """So many tasks in so many lanes, released by the slice. It is filled again when a slice has emptied it."""

    def __init__(self, bench: Bench, tasks: int, lanes: int, releases: int) -> None:
        self._server, self._client = bench.server, Redis.from_url(bench.server.database(0))
        self._tasks, self._lanes, self._slice = tasks, lanes, releases
        self._realm = self._filled()
        self.cpu_us: list[float] = []

    def __str__(self) -> str:
        return f"{self._tasks:,} waiting in {self._lanes:,} lanes"

    def rate(self) -> float:
        """Releases a second."""
        seconds = cpu_us = 0.0
        done = 0
        while done < self._slice:
            with self._server.watched() as watch:
                started = time.perf_counter()
                released = self._realm.dispatch(self._slice - done)
                seconds += time.perf_counter() - started
            done, cpu_us = done + released, cpu_us + watch.cpu_us
            if done < self._slice:
                self._realm = self._filled()
        self.cpu_us.append(cpu_us / done)
        return done / seconds

    def _filled(self) -> Realm:
        realm = Realm(self._client)
        realm.fill_lanes(self._tasks, self._lanes)
        realm.open()
        return realm


def measure(bench: Bench) -> Iterator[Figure]:
    """Releases by one dispatcher, as many a call as it makes, under five levels of limits that do not bind. All lanes have waited
    for workers, and workers have come. The rate is by the wall clock, with the client's part; the CPU is all that the server
    spends, the kernel's part included.
    """
    lanes, slice_ = bench.size(100, 10_000), bench.size(100, 10_000)
    small = _Backlog(bench, bench.size(50, 1_000), 10, slice_)
    backlogs = [small, _Backlog(bench, 10 * lanes, lanes, slice_)]
    if huge_lanes := bench.size(0, 0, 100_000):
        backlogs.append(_Backlog(bench, 10 * huge_lanes, huge_lanes, slice_))
    found = interleave(bench.size(1, 5), {str(each): each.rate for each in backlogs})
    for each in backlogs:
        rate, cpu = Spread.of(found[str(each)]), Spread.of(each.cpu_us)
        yield Figure(f"releases a second, {each}", f"{rate:,.0f}", "≥ 50,000", rate.median >= 50_000)
        yield Figure(f"Redis CPU per release, {each}", f"{cpu:.1f} µs", "≤ 20 µs", cpu.median <= 20)
    for each in backlogs[1:]:
        share = ratio(found, str(each), str(small))
        yield Figure(f"rate with {each} / with {small}", f"{share:.2f}", "≥ 0.8", share.median >= 0.8)
