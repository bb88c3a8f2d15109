"""ETA, countdown and retry wait in Redis: no worker has the message before it is due."""

from __future__ import annotations

import resource
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery.beat import Scheduler
from redis import Redis

from crew import AppSettings, Crew
from support import wait_until
from turgor.worker import LoopCall

SOON_S = 0.4


def delayed(client: Redis) -> dict[str, float]:
    """Tasks that wait for their time, and that time in seconds."""
    entries = client.zrange("{turgor:default}:delayed", 0, -1, withscores=True)
    return {entry.rpartition(b"\x1f")[2].decode(): due_us / 1e6 for entry, due_us in entries}


def received(crew: Crew, task_id: str) -> bool:
    return f"[{task_id}] received" in crew.worker.log


@pytest.mark.parametrize("task", ["proj.call", "proj.free"])
def test_a_task_reaches_the_worker_when_it_is_due_and_no_sooner(any_crew: Crew, task: str) -> None:
    crew = any_crew
    result = crew.proj.app.tasks[task].apply_async(("hi",), countdown=SOON_S)
    due = delayed(crew.client)[result.id]
    assert crew.client.llen("celery") == 0
    assert not received(crew, result.id)
    assert result.get(timeout=10) == "hi"
    (start,) = crew.journal.starts(result.id)
    assert start.at >= due
    assert start.fence is not None


def test_a_retry_waits_in_redis(any_crew: Crew) -> None:
    crew = any_crew
    result = crew.proj.flaky.delay("hi", countdown=SOON_S)
    crew.start_of(result.id)
    wait_until(lambda: f"{result.id}~1.0" in delayed(crew.client), description="the retry waits")
    due = delayed(crew.client)[f"{result.id}~1.0"]
    assert crew.worker.log.count(f"[{result.id}] received") == 1
    assert result.get(timeout=10) == "hi"
    assert crew.journal.starts(result.id)[1].at >= due


def test_who_is_due_first_runs_first(any_crew: Crew) -> None:
    results = [any_crew.proj.call.apply_async((n,), countdown=SOON_S + 0.2 * n) for n in (2, 0, 1)]
    for result in results:
        result.get(timeout=10)
    starts = [any_crew.journal.starts(result.id)[0] for result in results]
    assert [start.args for start in sorted(starts, key=lambda start: start.at)] == [[0], [1], [2]]


def test_a_delay_that_outlasts_everybody_is_kept_in_one_place(redis_client: Redis, settings: AppSettings) -> None:
    proj = settings.load()
    result = proj.call.apply_async(countdown=90 * 86400)
    assert delayed(redis_client)[result.id] == pytest.approx(time.time() + 90 * 86400, abs=60)
    assert not redis_client.keys("celery*")
    assert not redis_client.keys("unacked*")


NEXT_YEAR = datetime.now(UTC).year + 1
MOMENT = datetime(NEXT_YEAR, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("eta", "conf"),
    [
        (MOMENT, {}),
        (MOMENT.astimezone(timezone(timedelta(hours=-8))), {}),
        (MOMENT.isoformat(), {}),
        (MOMENT.replace(tzinfo=None), {}),
        (MOMENT, {"timezone": "Asia/Tokyo"}),
        (MOMENT.replace(tzinfo=None), {"timezone": "Asia/Tokyo"}),
        (MOMENT.replace(tzinfo=None), {"timezone": "Asia/Tokyo", "enable_utc": False}),
    ],
    ids=["utc", "another zone", "text", "naive is utc", "utc where a zone is set", "naive where a zone is set", "naive, no utc"],
)
def test_an_eta_means_what_it_means_to_celery(redis_client: Redis, settings: AppSettings, eta: Any, conf: dict[str, Any]) -> None:
    result = settings.but(conf=conf).load().call.apply_async(eta=eta)
    assert delayed(redis_client)[result.id] == MOMENT.timestamp()


@pytest.mark.parametrize("options", [{"countdown": -5}, {"countdown": 0}, {"eta": datetime(2000, 1, 1, tzinfo=UTC)}], ids=str)
def test_a_time_that_has_passed_is_now(redis_client: Redis, settings: AppSettings, options: dict[str, Any]) -> None:
    proj = settings.load()
    proj.call.apply_async(**options)
    assert redis_client.llen("celery") == 1


@pytest.mark.parametrize("task", ["proj.call", "proj.free"])
def test_a_delayed_task_is_stored_once_however_often_it_is_sent(redis_client: Redis, settings: AppSettings, task: str) -> None:
    proj: ModuleType = settings.load()
    for _ in range(3):
        proj.app.tasks[task].apply_async(countdown=60, task_id="one")
    assert list(delayed(redis_client)) == ["one"]


def test_a_delayed_task_that_is_revoked_does_not_run(any_crew: Crew) -> None:
    crew = any_crew
    result = crew.proj.call.apply_async(countdown=SOON_S)
    crew.proj.app.control.revoke(result.id)
    crew.wait_until_idle()
    assert not crew.journal.starts(result.id)
    assert result.state == "REVOKED"


@pytest.mark.parametrize("task", ["proj.call", "proj.free"])
@pytest.mark.parametrize("options", [{"countdown": 60}, {"eta": MOMENT}], ids=str)
def test_an_entry_of_beat_waits_in_redis_when_it_is_delayed(
    redis_client: Redis, settings: AppSettings, task: str, options: dict[str, Any]
) -> None:
    app = settings.load().app
    app.conf.beat_schedule = {"nightly": {"task": task, "schedule": 3_600.0, "options": options}}
    beat = Scheduler(app=app, lazy=False)
    result = beat.apply_async(beat.schedule["nightly"], producer=beat.producer)
    assert list(delayed(redis_client)) == [result.id]
    assert not redis_client.llen("celery")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of a process is read from /proc")
def test_a_thousand_delayed_tasks_leave_the_worker_s_memory_as_it_was(crew: Crew) -> None:
    """The benchmark `delayed` does the same with a million."""
    loop, tasks = crew.proj.turgor.loop("many"), 1_000
    crew.proj.call.delay("warm").get(timeout=10)
    before = resident_bytes(crew.worker.pid)
    loop.submit_many([LoopCall(crew.proj.call, (number,), options={"countdown": 3_600}) for number in range(tasks)])
    crew.proj.call.delay("warm").get(timeout=10)
    assert len(delayed(crew.client)) == tasks
    assert resident_bytes(crew.worker.pid) - before < 2_000 * tasks, "plain Celery's worker grows by some 5,000 bytes for each"
    assert loop.cancel_all() == tasks


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()
