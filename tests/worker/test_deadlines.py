"""Deadlines: until when a task may wait, said as a moment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery.exceptions import TaskRevokedError

from crew import Crew
from turgor.worker import WaitTimeout

SHORT_S = 0.3


@pytest.fixture
def blocked(crew: Crew, tmp_path: Path) -> Iterator[Crew]:
    """Somebody holds the only slot of the service `single` until the test is over."""
    blocker = crew.proj.hold.delay(str(tmp_path / "open"))
    crew.start_of(blocker.id)
    yield crew
    (tmp_path / "open").touch()
    crew.wait_until_idle()


@pytest.mark.parametrize(
    "moment",
    [lambda: time.time() + SHORT_S, lambda: datetime.now(timezone(timedelta(hours=5))) + timedelta(seconds=SHORT_S)],
    ids=["seconds since the epoch", "a datetime with its zone"],
)
def test_a_task_that_waits_until_its_deadline_fails_and_runs_its_error_callback(blocked: Crew, moment: Any) -> None:
    callback = str(uuid4())
    errback = blocked.proj.call.s().set(task_id=callback)
    result = blocked.proj.single.apply_async(deadline=moment(), link_error=errback)
    with pytest.raises(WaitTimeout, match=r"proj\.single waited until its deadline, 20.*, held by service:single in_flight"):
        result.get(timeout=10)
    assert blocked.start_of(callback).args == [result.id]
    assert not blocked.journal.starts(result.id)


def test_a_deadline_that_is_over_fails_at_once(crew: Crew) -> None:
    with pytest.raises(WaitTimeout, match="waited until its deadline"):
        crew.proj.call.apply_async(deadline=datetime(2020, 1, 1, tzinfo=UTC)).get(timeout=10)


def test_a_datetime_without_a_zone_is_refused_with_the_remedy(crew: Crew) -> None:
    with pytest.raises(ValueError, match=r"deadline=.*without a time zone.*datetime\.now\(UTC\)"):
        crew.proj.call.apply_async(deadline=datetime(2030, 1, 1))  # noqa: DTZ001  the mistake
    with pytest.raises(ValueError, match="seconds since the epoch"):
        crew.proj.call.apply_async(deadline="tomorrow")


def test_a_retry_does_not_move_the_deadline(crew: Crew) -> None:
    result = crew.proj.flaky.apply_async((1,), {"failures": 10, "countdown": 0.2}, deadline=time.time() + 3 * SHORT_S)
    with pytest.raises(WaitTimeout, match="deadline"):
        result.get(timeout=10)
    assert 1 <= len(crew.journal.starts(result.id)) < 10


def test_what_celery_calls_expired_is_not_released_and_ends_as_celery_ends_it(blocked: Crew) -> None:
    result = blocked.proj.single.apply_async(expires=SHORT_S)
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=10)
    assert not blocked.journal.starts(result.id)
