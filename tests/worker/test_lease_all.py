"""`lease_all`: every task runs under a lease, and kombu's `unacked` is not written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from crew import AppSettings, Hire
from support import wait_until
from turgor.worker import LeasesNeedTheBroker, TaskState

UNACKED = ("unacked", "unacked_index", "unacked_mutex")


@pytest.fixture
def leased(settings: AppSettings) -> AppSettings:
    return settings.but(options={"lease_all": True, "claim_within_s": 2, "lease_s": 2})


def send_past_turgor(settings: AppSettings, **options: Any) -> str:
    """A program that has the app without Turgor sends a task."""
    return settings.but(plain=True).load().free.apply_async(("stray",), **options).id


def commands(client: Redis) -> dict[str, Any]:
    return client.info("commandstats")


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_task_without_limits_runs_under_a_fence_and_unacked_is_not_written(
    leased: AppSettings, hire: Hire, redis_client: Redis, pool: str
) -> None:
    crew = hire(leased, pool=pool)
    ids = [crew.proj.free.delay(n).id for n in range(30)]
    assert all(crew.start_of(each).fence for each in ids)
    crew.wait_until_idle()
    assert len(crew.journal.starts()) == 30
    assert not redis_client.exists(*UNACKED)
    assert "cmdstat_zrevrangebyscore" not in commands(redis_client), "nobody swept"


def test_celerys_own_tasks_are_leased_as_well(leased: AppSettings, redis_client: Redis) -> None:
    proj = leased.load()
    for name in ("celery.backend_cleanup", "celery.chord_unlock"):
        result = proj.app.tasks[name].apply_async(args=() if "cleanup" in name else ("group", None))
        assert proj.turgor.explain(result.id).state is TaskState.RELEASED
    assert redis_client.llen("celery") == 2


@pytest.mark.parametrize("headers", [{}, {"turgor_fence": None}])
def test_a_message_without_a_fence_is_kept_and_told_and_does_not_run(
    leased: AppSettings, hire: Hire, redis_client: Redis, headers: dict[str, Any]
) -> None:
    crew = hire(leased)
    stray = send_past_turgor(leased, headers=headers)
    aside = crew.proj.turgor.keys("unleased")
    wait_until(lambda: redis_client.llen(aside), description="the message is moved out of the way")
    ours = crew.proj.free.delay("ours").id
    crew.start_of(ours)
    kept = redis_client.lindex(aside, 0)
    assert json.loads(kept)["headers"]["id"] == stray
    assert crew.proj.turgor.statistics().unleased == 1
    wait_until(lambda: f"[{stray}] came to queue 'celery' without a fence" in crew.worker.log, description="the log says so")
    assert not crew.journal.starts(stray)


def test_control_commands_and_their_replies_pass(leased: AppSettings, hire: Hire) -> None:
    crew = hire(leased)
    replies = wait_until(lambda: crew.proj.app.control.ping(timeout=2), description="the worker answers", timeout=20)
    assert [list(each.values()) for each in replies] == [[{"ok": "pong"}]]
    assert crew.proj.turgor.statistics().unleased == 0


def test_a_warm_shutdown_gives_back_what_was_prefetched(
    leased: AppSettings, hire: Hire, tmp_path: Path, redis_client: Redis
) -> None:
    """At once, under the same fences: nobody waits for a lease to lapse."""
    patient = leased.but(options={"lease_all": True})
    crew, gate = hire(patient, concurrency=1), tmp_path / "open"
    first = crew.proj.linger.apply_async((str(gate), 0), service="").id
    ids = [crew.proj.free.delay(n).id for n in range(3)]
    crew.start_of(first)
    wait_until(lambda: redis_client.llen("celery") == 0, description="all are prefetched")
    crew.worker.terminate()
    gate.touch()
    crew.worker.wait()
    assert redis_client.llen("celery") == 3
    other = hire(patient)
    assert [other.start_of(each).fence for each in ids] == [2, 3, 4], "in their order, under the fences that they had"
    other.wait_until_idle()
    assert len(other.journal.starts()) == 4


def test_what_a_killed_worker_had_popped_runs_elsewhere(leased: AppSettings, hire: Hire, tmp_path: Path) -> None:
    crew, gate = hire(leased, concurrency=1), tmp_path / "open"
    crew.proj.free.apply_async()
    crew.wait_until_idle()
    held = crew.proj.app.tasks["proj.hold"].apply_async((str(gate), 0)).id
    ids = [crew.proj.free.delay(n).id for n in range(3)]
    crew.start_of(held)
    wait_until(lambda: crew.client.llen("celery") == 0, description="all are prefetched")
    crew.worker.kill()
    gate.touch()
    other = hire(leased)
    for each in ids:
        assert other.start_of(each, timeout=15)
    other.wait_until_idle(timeout=15)
    assert all(len(other.journal.starts(each)) == 1 for each in ids)


def test_a_revoked_task_that_waits_never_runs(leased: AppSettings, hire: Hire) -> None:
    proj = leased.load()
    result = proj.free.delay("never")
    proj.app.control.revoke(result.id)
    crew = hire(leased)
    last = crew.proj.free.delay("last").id
    crew.start_of(last)
    assert not crew.journal.starts(result.id)
    crew.wait_until_idle()


def test_a_countdown_and_a_retry_are_kept(leased: AppSettings, hire: Hire) -> None:
    crew = hire(leased)
    late = crew.proj.free.apply_async(("late",), countdown=0.5).id
    again = crew.proj.app.tasks["proj.flaky_free_only"].delay("x").id
    crew.start_of(late)
    wait_until(lambda: len(crew.journal.starts(again)) == 2, description="the retry starts")
    crew.wait_until_idle()


@pytest.mark.parametrize("broker", ["amqp://localhost", "redis://127.0.0.1:1/7"])
def test_a_broker_elsewhere_is_refused_with_the_remedy(leased: AppSettings, broker: str, server_url: str) -> None:
    turgor = leased.but(broker=broker, options={"lease_all": True, "redis": server_url}).load().turgor
    with pytest.raises(LeasesNeedTheBroker, match="Leave lease_all out"):
        turgor.start()


def test_a_broadcast_has_no_queue_to_be_released_to_and_goes_to_the_broker(leased: AppSettings) -> None:
    proj = leased.but(queues=[("celery", "celery", "direct", "celery"), ("everyone", "", "broadcast", "")]).load()
    result = proj.free.apply_async(("all",), queue="everyone")
    assert proj.turgor.explain(result.id).state is TaskState.UNKNOWN
