"""`celery worker --autoscale` with Turgor: the pool follows the work that has use for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crew import AppSettings, Crew, Hire
from support import wait_until
from turgor.scheduler.demand import Presence

LIMITS: dict[str, Any] = {
    "services": {"api": {"requests_per_second": 1000}, "narrow": {"requests_per_minute": 60, "burst_capacity": 2}}
}
LATE = {"claim_within_s": 60, "lease_s": 60}  # whatever runs again, it is not because a lease lapsed


@pytest.fixture
def scaling(settings: AppSettings, hire: Hire, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Crew]:
    """Start a worker that scales, and shrinks when for a second less was wanted."""
    monkeypatch.setenv("AUTOSCALE_KEEPALIVE", "1")
    quiet = settings.but(limits=LIMITS, options=LATE, conf={"task_ignore_result": True})
    return lambda most=6, least=1, **changes: hire(quiet.but(**changes), options=[f"--autoscale={most},{least}"])


def presence(crew: Crew) -> Presence:
    return next(iter(crew.proj.turgor.scheduler.demand().crew.values()))


def size(crew: Crew) -> int:
    return presence(crew).processes


def capacity(crew: Crew) -> int:
    return int(crew.client.hget(crew.proj.turgor.keys("ahead"), "celery") or 0)


def prefetch(crew: Crew) -> tuple[int, int]:
    """What the worker prefetches, and its processes."""
    told: dict[str, Any] = wait_until(
        lambda: crew.proj.app.control.inspect(timeout=5, limit=1).stats(), description="the worker answers"
    )
    (stats,) = told.values()
    return stats["prefetch_count"], stats["autoscaler"]["current"]


def test_it_grows_for_work_that_waits_for_workers_and_shrinks_when_it_is_done_but_for_what_is_busy(
    scaling: Callable[..., Crew], tmp_path: Path
) -> None:
    crew = scaling()
    assert (size(crew), capacity(crew)) == (1, 4), "released is what the processes that are there can take"
    assert prefetch(crew) == (4, 1), "Celery would prefetch 24 from the start"
    held = [crew.proj.linger.delay(str(tmp_path / "open"), n).id for n in range(2)]
    others = [crew.proj.work.delay(0.1, n).id for n in range(80)]
    wait_until(lambda: size(crew) == 6, description="the pool has grown")
    wait_until(lambda: capacity(crew) == 24, description="more is released to it")
    wait_until(lambda: len(crew.journal.ends()) >= len(others), description="the short ones are done", timeout=20)
    wait_until(lambda: size(crew) == 2, description="the pool has shrunk to those that are busy")
    assert prefetch(crew) == (8, 2)
    (tmp_path / "open").touch()
    wait_until(lambda: (size(crew), capacity(crew)) == (1, 4), description="the pool has shrunk")
    crew.wait_until_idle()
    assert Counter(end.id for end in crew.journal.ends()) == Counter(held + others)


def test_it_does_not_grow_for_work_that_a_limit_holds(scaling: Callable[..., Crew]) -> None:
    """Celery's own would: it has 60 messages for each process."""
    crew = scaling()
    crew.client.hset(crew.proj.turgor.keys("run_times"), mapping={"narrow": "200000 16", "*": "200000 16"})
    for n in range(200):
        crew.proj.work.apply_async((0.2, n), service="narrow")
    began, sizes = crew.client.time()[0], list[int]()

    def seconds_pass() -> bool:
        sizes.append(size(crew))
        return crew.client.time()[0] - began >= 3

    wait_until(seconds_pass, description="some seconds have passed")
    assert set(sizes) == {1}
    assert crew.proj.turgor.desired_workers().reason.startswith("limit-bound: service:narrow")
    crew.proj.turgor.apply_limits({"services": {"narrow": {}}})
    wait_until(lambda: size(crew) > 1, description="the limit is gone, and the pool grows")


def test_a_pool_that_cannot_grow_keeps_its_size_and_says_so(settings: AppSettings, hire: Hire) -> None:
    """Celery's own autoscaler ends such a worker when there is work for two."""
    crew = hire(settings.but(limits=LIMITS), pool="threads", options=["--autoscale=4,1"])
    results = [crew.proj.work.delay(0.01, n) for n in range(20)]
    assert [result.get(timeout=10) for result in results] == list(range(20))
    assert "a pool of this kind cannot grow or shrink" in crew.worker.log
