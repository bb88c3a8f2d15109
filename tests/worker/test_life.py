"""Dispatchers and workers come and go: alone, many, gracefully, in haste. No task is lost, none runs twice for it."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from brokers import RABBITMQ, each_broker, in_each_pool_and_on_rabbitmq
from crew import AppSettings, Crew, Hire, Process
from support import wait_until

LATE = {"claim_within_s": 60, "lease_s": 60}  # whatever comes back, it is not because a lease lapsed


def counts(crew: Crew, ids: list[str]) -> set[int]:
    """How often these tasks started."""
    starts = Counter(start.id for start in crew.journal.starts())
    return {starts[each] for each in ids}


@each_broker()
def test_without_a_dispatcher_what_must_wait_for_time_waits(settings: AppSettings, hire: Hire) -> None:
    crew = hire(settings.but(options={"dispatcher": False}))
    results = [crew.proj.call.apply_async((n,), service="narrow") for n in range(7)]
    assert [result.get(timeout=10) for result in results[:5]] == [0, 1, 2, 3, 4]
    assert "turgor-dispatcher" not in [thread.name for thread in threading.enumerate()]
    assert counts(crew, [result.id for result in results[5:]]) == {0}

    dispatcher = crew.proj.turgor.dispatcher()
    dispatcher.start()
    try:
        assert [result.get(timeout=10) for result in results[5:]] == [5, 6]
    finally:
        dispatcher.stop()
    crew.wait_until_idle()


@each_broker("same redis", RABBITMQ)
def test_a_dispatcher_may_be_a_process_of_its_own(settings: AppSettings, hire: Hire, tmp_path: Path) -> None:
    alone = settings.but(options={"dispatcher": False})
    dispatcher = Process(["-m", "celery", "-A", "proj", "turgor", "dispatch"], alone.environment, tmp_path / "dispatch.log")
    dispatcher.start()
    try:
        crew = hire(alone)
        results = [crew.proj.call.apply_async((n,), service="narrow") for n in range(12)]
        assert [result.get(timeout=20) for result in results] == list(range(12))
        crew.wait_until_idle()
        dispatcher.terminate()
        assert dispatcher.wait() == 0, dispatcher.log
    finally:
        dispatcher.stop()


def test_many_dispatchers_keep_the_limit(settings: AppSettings, hire: Hire) -> None:
    crew = hire(settings)
    dispatchers = [crew.proj.turgor.dispatcher() for _ in range(4)]
    for dispatcher in dispatchers:
        dispatcher.start()
    results = [crew.proj.call.apply_async((n,), service="narrow") for n in range(20)]
    assert [result.get(timeout=20) for result in results] == list(range(20))
    for dispatcher in dispatchers:
        dispatcher.stop()
    at = sorted(start.at for start in crew.journal.starts())
    assert len(at) == 20
    assert all(later - earlier >= 1 for earlier, later in zip(at, at[5:], strict=False)), "6 starts in one second"


@in_each_pool_and_on_rabbitmq("threads", "prefork")
def test_a_graceful_stop_finishes_what_runs_and_gives_back_what_it_has_prefetched(
    settings: AppSettings, hire: Hire, tmp_path: Path, pool: str
) -> None:
    crew = hire(settings.but(options=LATE), pool=pool, concurrency=1)
    running = crew.proj.linger.delay(str(tmp_path / "open"), "ran")
    crew.start_of(running.id)
    others = [crew.proj.call.delay(n) for n in range(10)]
    wait_until(lambda: crew.worker.log.count("received") > 3, description="the worker has prefetched")
    crew.worker.terminate()
    wait_until(lambda: "Warm shutdown" in crew.worker.log, description="the worker stops")
    (tmp_path / "open").touch()
    assert crew.worker.wait() == 0
    assert running.get(timeout=5) == "ran"

    next_crew = hire(crew.settings, pool=pool)
    assert [result.get(timeout=10) for result in others] == list(range(10))
    next_crew.wait_until_idle()
    assert counts(crew, [running.id, *(result.id for result in others)]) == {1}


@each_broker("same redis", RABBITMQ)
def test_a_task_that_outlasts_its_lease_during_a_graceful_stop_runs_once(
    settings: AppSettings, hire: Hire, tmp_path: Path
) -> None:
    short = settings.but(options={"lease_s": 1, "claim_within_s": 1})
    crew = hire(short)
    running = crew.proj.hold.delay(str(tmp_path / "open"), "ran")
    crew.start_of(running.id)
    waiting = crew.proj.single.delay("next")
    other = hire(short)
    crew.worker.terminate()
    began = other.proj.turgor.client.time()[0]
    wait_until(lambda: other.proj.turgor.client.time()[0] >= began + 4, description="the lease would have lapsed")
    assert not crew.journal.starts(waiting.id)
    (tmp_path / "open").touch()
    assert running.get(timeout=10) == "ran"
    assert waiting.get(timeout=10) == "next"
    assert counts(crew, [running.id, waiting.id]) == {1}
    crew.wait_until_idle()


@each_broker("same redis", RABBITMQ)
@pytest.mark.parametrize("task", ["hold", "hold_late"])
def test_a_stop_in_haste_gives_back_what_runs(settings: AppSettings, hire: Hire, tmp_path: Path, task: str) -> None:
    crew = hire(settings.but(options={"claim_within_s": 2, "lease_s": 2}))
    result = crew.proj.app.tasks[f"proj.{task}"].delay(str(tmp_path / "open"), "ran")
    crew.start_of(result.id)
    os.kill(crew.worker.pid, signal.SIGQUIT)
    crew.worker.wait()
    (tmp_path / "open").touch()
    next_crew = hire(crew.settings)
    wait_until(lambda: len(crew.journal.starts(result.id)) == 2, description="the task runs again", timeout=15)
    next_crew.wait_until_idle()
    assert crew.proj.app.AsyncResult(result.id).get(timeout=10) == "ran"


def test_a_worker_that_starts_before_redis_ends_and_says_so_in_one_line(settings: AppSettings) -> None:
    """The line once stood at the end of 40 lines of Celery's traceback."""
    crew = Crew.of(settings.but(broker="redis://:secret@127.0.0.1:1/0"), settings.journal.with_name("log"))
    crew.worker.start(ready=None)
    assert crew.worker.wait(timeout=30) == 1
    assert "no Redis at redis://:***@127.0.0.1:1/0: connection refused. Start one, or correct the URL." in crew.worker.log
    assert "Traceback" not in crew.worker.log
