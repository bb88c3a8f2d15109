"""`retry_on` and its words: attempts that failed run again after a countdown that waits in Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Reject
from redis import Redis

from crew import AppSettings, Crew, Hire, dismiss
from http_stage import Answer, Stage
from support import start_embedded_server, wait_until
from turgor.worker import Cancelled

LIMITS: dict[str, Any] = {
    "services": {
        "api": {"requests_per_second": 500},
        "other": {},
        "budgeted": {"retry_budget": {"ratio": 0.1, "window": "1h", "minimum": 2}},
    }
}
REFUSAL = Answer(429, {"Retry-After": "1"})


@pytest.fixture
def app_settings(settings: AppSettings) -> AppSettings:
    return settings.but(module="retrier", limits=LIMITS)


@pytest.fixture(scope="module")
def shared_staff(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    server, directory = start_embedded_server(), tmp_path_factory.mktemp("retrier")
    settings = AppSettings(f"redis://127.0.0.1:{server.port}/0", directory / "journal", LIMITS, module="retrier")
    crew = Crew.of(settings, directory / "log", pool="threads")
    crew.worker.start()
    yield crew
    dismiss([crew])
    server.stop()


@pytest.fixture
def staff(shared_staff: Crew) -> Iterator[Crew]:
    """A worker that the tests share. A test leaves neither work nor a closed service."""
    yield shared_staff
    shared_staff.wait_until_idle()
    for state in shared_staff.proj.turgor.regulator.states():
        shared_staff.proj.turgor.resume(state.scope)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage({}) as stage:
        yield stage


def attempts(crew: Crew, task_id: str) -> list[int]:
    return [start.retries for start in crew.journal.starts(task_id)]


def delayed(client: Redis) -> dict[str, float]:
    """Seconds until each delayed attempt is due."""
    entries = client.zrange("{turgor:default}:delayed", 0, -1, withscores=True)
    return {entry.rpartition(b"\x1f")[2].decode(): due_us / 1e6 - time.time() for entry, due_us in entries}


def take_out(crew: Crew, task_id: str) -> None:
    """Cancel the retry, as soon as the attempt before it has ended."""
    turgor = crew.proj.turgor
    wait_until(lambda: turgor.cancel(task_id) is Cancelled.CANCELLED, description="the retry is cancelled")


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_task_that_fails_for_a_named_reason_runs_again_until_it_succeeds(
    app_settings: AppSettings, hire: Hire, pool: str
) -> None:
    crew = hire(app_settings, pool=pool)
    tasks = crew.proj.app.tasks
    results = [tasks[name].delay(2) for name in ("retrier.fragile", "retrier.free", "retrier.based")]
    for result in results:
        assert result.get(timeout=15) == "done"
        assert attempts(crew, result.id) == [0, 1, 2]
    crew.wait_until_idle()


def test_the_last_attempt_fails_with_its_own_exception_and_says_that_it_was_the_last(staff: Crew) -> None:
    results = [staff.proj.fragile.delay(9), staff.proj.free.delay(9), staff.proj.based.delay(9)]
    for result, most in zip(results, (4, 4, 3), strict=True):
        with pytest.raises(TimeoutError, match=f"attempt {most}"):
            result.get(timeout=15)
        assert attempts(staff, result.id) == list(range(most))
        assert f"Turgor does not retry this task: attempt {most} of {most} was the last" in result.traceback


def test_what_is_not_named_fails_at_once(staff: Crew) -> None:
    result = staff.proj.fragile.delay(1, kind="value")
    with pytest.raises(ValueError, match="attempt 1"):
        result.get(timeout=15)
    assert attempts(staff, result.id) == [0]


@pytest.mark.parametrize("name", ["slow", "celerys", "celerys_free"])
def test_a_countdown_waits_in_redis_and_no_worker_has_it(staff: Crew, name: str) -> None:
    result = getattr(staff.proj, name).delay()
    due_s = wait_until(lambda: delayed(staff.client).get(f"{result.id}~1.0"), description="the retry waits in Redis")
    assert due_s is not None
    assert due_s > (95 if name != "slow" else 0)
    wait_until(lambda: result.state == "RETRY", description="the attempt has ended")
    assert staff.worker.log.count(f"[{result.id}] received") == 1
    assert not staff.client.llen("celery")
    assert not staff.client.hlen("unacked")
    take_out(staff, result.id)


def test_a_429_closes_the_service_and_burns_no_attempt(staff: Crew, stage: Stage) -> None:
    """`fetch` has two attempts, and its service refuses it three times."""
    stage.answers["/"] = REFUSAL
    result = staff.proj.fetch.delay(f"{stage.url}/")
    for calls in (1, 2, 3):
        wait_until(lambda calls=calls: stage.calls["/"] == calls, description="the service was called")
        assert wait_until(staff.proj.turgor.regulator.states, description="it is closed")[0].scope == "service:api"
    assert result.state == "PENDING"
    stage.answers["/"] = Answer()
    assert result.get(timeout=15) == "done"
    assert attempts(staff, result.id) == [0, 0, 0, 0]


def test_a_retry_after_wins_over_the_computed_countdown(staff: Crew, stage: Stage) -> None:
    stage.answers["/"] = Answer(500, {"Retry-After": "100"})
    result = staff.proj.fetch.delay(f"{stage.url}/")
    due_s = wait_until(lambda: delayed(staff.client).get(f"{result.id}~1.0"), description="the retry waits in Redis")
    assert due_s is not None
    assert 90 < due_s <= 100
    take_out(staff, result.id)


def test_where_nothing_can_be_closed_a_429_waits_as_long_and_burns_no_attempt(staff: Crew, stage: Stage) -> None:
    stage.answers["/"] = Answer(429, {"retry-after-ms": "100"})
    result = staff.proj.fetch_free.delay(f"{stage.url}/")
    wait_until(lambda: stage.calls["/"] >= 4, description="it was refused four times, and has two attempts")
    assert staff.proj.turgor.regulator.states() == ()
    stage.answers["/"] = Answer()
    assert result.get(timeout=15) == "done"


def test_a_429_that_a_hook_saw_puts_any_task_of_the_service_back(staff: Crew, stage: Stage) -> None:
    stage.answers["/"] = Answer(429, {"retry-after-ms": "300"})
    result = staff.proj.hooked.delay(f"{stage.url}/")
    wait_until(lambda: stage.calls["/"] == 1, description="the service was called")
    stage.answers["/"] = Answer()
    assert result.get(timeout=15) == "done"
    assert attempts(staff, result.id) == [0, 0]


def test_a_429_of_another_service_leaves_the_task_s_own_open(staff: Crew, stage: Stage) -> None:
    stage.answers["/"] = REFUSAL
    result = staff.proj.hooked.delay(f"{stage.url}/", service="other")
    with pytest.raises(Exception, match="429"):
        result.get(timeout=15)
    assert [state.scope for state in staff.proj.turgor.regulator.states()] == ["service:other"]


@pytest.mark.parametrize("answer", [Answer(500, {"Retry-After": "60"}), Answer(429, {"Retry-After": "60"})], ids=["500", "429"])
def test_no_attempt_starts_after_the_time_budget(staff: Crew, stage: Stage, answer: Answer) -> None:
    stage.answers["/"] = answer
    result = staff.proj.hasty.delay(f"{stage.url}/")
    with pytest.raises(Exception, match=str(answer.status)):
        result.get(timeout=15)
    reason = f"[{result.id}] is not retried: the next attempt, 2, would start later than retry_within = 5 s"
    wait_until(lambda: reason in staff.worker.log, description="the worker says why")


def test_the_time_budget_counts_from_the_first_submit(staff: Crew, stage: Stage) -> None:
    stage.answers["/"] = Answer(500, {"retry-after-ms": "1"})
    before = time.time()
    result = staff.proj.hasty.delay(f"{stage.url}/")
    with pytest.raises(Exception, match="500"):
        result.get(timeout=15)
    starts = staff.journal.starts(result.id)
    assert len(starts) == 5
    assert len({tuple(start.headers["turgor_retry"]) for start in starts}) == 1
    assert before <= starts[0].headers["turgor_retry"][0] <= starts[0].at


def test_a_task_that_is_called_in_place_raises_and_an_eager_one_retries(app_settings: AppSettings) -> None:
    proj = app_settings.load()
    with pytest.raises(TimeoutError):
        proj.fragile(9)
    assert proj.fragile.apply((2,)).get() == "done"
    with pytest.raises(TimeoutError, match="attempt 4"):
        proj.fragile.apply((9,)).get()


def test_a_spent_retry_budget_ends_the_retries_of_all(staff: Crew) -> None:
    """A service with 30 first attempts that all fail gets three retries, not 240."""
    results = [staff.proj.budgeted.delay(99) for _ in range(30)]
    for result in results:
        with pytest.raises(TimeoutError):
            result.get(timeout=15)
    starts = [start for result in results for start in staff.journal.starts(result.id)]
    assert 32 <= len(starts) <= 33
    spent = [result for result in results if "the retry budget of service:budgeted is spent, " in result.traceback]
    assert len(spent) == 30
    staff.wait_until_idle()  # a result is there a moment before its end is reported
    use = staff.proj.turgor.health("budgeted").retry_use
    assert (use.first_attempts, use.allowed) == (30, 3)
    assert f"{use.retries} of 3 retries in 1h" in str(staff.proj.turgor.health("budgeted"))


def test_a_retry_that_is_refused_is_the_task_s_failure(staff: Crew) -> None:
    result = staff.proj.fragile.apply_async((1,), countdown=1.3)  # by then the worker has heard of the change
    staff.proj.turgor.apply_limits({"services": {"other": {}}})
    try:
        with pytest.raises(Exception, match="unknown service 'api'"):
            result.get(timeout=15)
    finally:
        staff.proj.turgor.apply_limits(LIMITS)
    assert attempts(staff, result.id) == [0]


def test_a_retry_that_redis_cannot_take_just_now_lets_its_attempt_go_back(tmp_path: Path) -> None:
    """Celery drops such a task. Here its attempt is rejected to be put back, or comes back when its lease lapses."""
    server = start_embedded_server()
    conf = {"task_publish_retry": False, "task_ignore_result": True}
    settings = AppSettings(f"redis://127.0.0.1:{server.port}/0", tmp_path / "journal", LIMITS, module="retrier", conf=conf)
    task = settings.load().fragile
    task.push_request(id="one", args=[9], kwargs={}, retries=0, called_directly=False)
    server.stop()
    with pytest.raises(Reject) as caught:
        task.run(9)
    assert caught.value.requeue
    assert isinstance(caught.value.__cause__, TimeoutError)
