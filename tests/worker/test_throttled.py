"""`raise Throttled` in a task, in every pool: the service is left alone, and no attempt is spent."""

from __future__ import annotations

import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from brokers import in_each_pool_and_on_rabbitmq
from crew import AppSettings, Hire
from support import wait_until
from turgor.limits.throttling import DEFAULT_RETRY_AFTER_S
from turgor.worker import Throttled
from turgor.worker.throttled import NothingToClose

LIMITS: dict[str, Any] = {"services": {"api": {}}}


@in_each_pool_and_on_rabbitmq("prefork", "threads", "solo")
def test_a_throttled_task_closes_its_service_and_runs_again_when_it_opens(
    settings: AppSettings, hire: Hire, tmp_path: Path, pool: str
) -> None:
    crew = hire(settings.but(limits=LIMITS), pool=pool)
    result = crew.proj.throttled.delay(str(tmp_path / "marker"), 1.5)
    crew.start_of(result.id)
    state = wait_until(crew.proj.turgor.regulator.states, description="the service is closed")[0]
    follower = crew.proj.call.delay("second")

    assert (state.scope, state.reason) == ("service:api", "429")
    assert result.state == "PENDING"
    assert crew.proj.turgor.explain(result.id).held_by == "service:api closed"
    assert result.get(timeout=15) == "done"
    assert follower.get(timeout=15) == "second"
    first, second = crew.journal.starts(result.id)
    assert second.at - first.at >= 1.5
    assert (first.fence, second.fence, first.retries, second.retries) == (1, 2, 0, 0)
    assert crew.journal.starts(follower.id)[0].at > second.at
    assert "raised unexpected" not in crew.worker.log
    crew.wait_until_idle()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_where_nothing_can_be_closed_the_task_fails_and_says_so(settings: AppSettings, hire: Hire, pool: str) -> None:
    crew = hire(settings.but(limits={**LIMITS, "loops": {"x": {"max_in_flight": 1}}}), pool=pool)
    free = crew.proj.throttled_free.delay()
    of_no_service = crew.proj.throttled_free.apply_async(loop="x")

    later = crew.proj.throttled_free.apply_async(countdown=0.1)

    for result in (free, of_no_service, later):
        with pytest.raises(NothingToClose, match=r"task 'proj.throttled_free' raised Throttled, but .* give the task a service"):
            result.get(timeout=15)
    crew.wait_until_idle()
    assert crew.proj.turgor.regulator.states() == ()


def test_a_delayed_task_of_a_service_that_no_limits_name_has_nothing_to_close(
    settings: AppSettings, hire: Hire, tmp_path: Path
) -> None:
    """It is here for its delay alone, in a lane of no service."""
    crew = hire(settings.but(limits={}))
    result = crew.proj.throttled.apply_async((str(tmp_path / "marker"), 5), countdown=0.1)

    with pytest.raises(NothingToClose):
        result.get(timeout=15)
    crew.wait_until_idle()


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (2.5, 2.5),
        (3, 3.0),
        (timedelta(minutes=2), 120.0),
        (None, DEFAULT_RETRY_AFTER_S),
        (0, DEFAULT_RETRY_AFTER_S),
        (-4, DEFAULT_RETRY_AFTER_S),
        (float("nan"), DEFAULT_RETRY_AFTER_S),
        (float("inf"), 86_400.0),
    ],
)
def test_what_the_service_asked_for_becomes_seconds(retry_after: Any, seconds: float) -> None:
    throttled = Throttled(retry_after)

    assert throttled.retry_after_s == seconds
    assert pickle.loads(pickle.dumps(throttled)).retry_after_s == seconds


@pytest.mark.parametrize("retry_after", ["30", True, []])
def test_what_is_no_time_is_refused(retry_after: Any) -> None:
    with pytest.raises(TypeError, match=r"^retry_after: .* is not allowed; use seconds, a timedelta or None$"):
        Throttled(retry_after)


def test_a_throttled_task_is_not_retried_by_celery(redis_client: Redis, settings: AppSettings, tmp_path: Path) -> None:
    """Celery's `autoretry_for` lets what it calls Ignore through."""
    proj = settings.load()
    with pytest.raises(Throttled):
        proj.throttled(str(tmp_path / "marker"), 5)
