"""A task that waits can be asked about, taken back, and given a bound to its wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord

from crew import Crew
from support import wait_until
from turgor.worker import Cancelled, TaskState, WaitTimeout

SHORT_S = 0.3


@pytest.fixture
def blocked(crew: Crew, tmp_path: Path) -> Iterator[Crew]:
    """Somebody holds the only slot of the service `single` until the test is over."""
    blocker = crew.proj.hold.delay(str(tmp_path / "open"))
    crew.start_of(blocker.id)
    yield crew
    (tmp_path / "open").touch()
    crew.wait_until_idle()


def test_a_wait_that_is_too_long_fails_where_the_caller_waits(blocked: Crew) -> None:
    result = blocked.proj.single.apply_async(max_wait=SHORT_S)
    with pytest.raises(WaitTimeout, match=r"proj\.single.*0\.3.*service:single in_flight"):
        result.get(timeout=10)
    assert result.state == "FAILURE"
    assert not blocked.journal.starts(result.id)


def test_a_wait_that_is_short_enough_is_no_failure(crew: Crew) -> None:
    assert crew.proj.single.apply_async((1,), max_wait=5).get(timeout=10) == 1


def test_the_error_callback_of_a_task_that_waited_too_long_is_called(blocked: Crew) -> None:
    callback = str(uuid4())
    result = blocked.proj.single.apply_async(max_wait=SHORT_S, link_error=blocked.proj.call.s().set(task_id=callback))
    assert blocked.start_of(callback).args == [result.id]


def test_a_chain_ends_with_the_step_that_waited_too_long(blocked: Crew) -> None:
    proj = blocked.proj
    result = chain(proj.call.s(1), proj.single.s().set(max_wait=SHORT_S), proj.call.s()).delay()
    with pytest.raises(WaitTimeout):
        result.parent.get(timeout=10)  # pyright: ignore[reportOptionalMemberAccess]
    blocked.proj.call.delay().get(timeout=10)
    assert not blocked.journal.starts(result.id)


def test_a_chord_fails_with_the_member_that_waited_too_long(blocked: Crew) -> None:
    proj = blocked.proj
    result = chord([proj.call.s(1), proj.single.s(2).set(max_wait=SHORT_S)], proj.total.s()).delay()
    with pytest.raises(WaitTimeout):
        result.get(timeout=10)


def test_a_delay_is_no_part_of_the_wait(crew: Crew) -> None:
    assert crew.proj.single.apply_async((1,), countdown=2 * SHORT_S, max_wait=SHORT_S).get(timeout=10) == 1


def test_a_waiting_task_is_explained_and_cancelled(blocked: Crew) -> None:
    turgor, single = blocked.proj.turgor, blocked.proj.single
    first, second = single.delay(), single.delay()
    explained = turgor.explain(second.id)
    assert (explained.state, explained.ahead, explained.held_by) == (TaskState.WAITING, 1, "service:single in_flight")
    assert turgor.cancel(second.id) is Cancelled.CANCELLED
    assert turgor.cancel(second.id) is Cancelled.UNKNOWN
    assert turgor.cancel(first.id) is Cancelled.CANCELLED


def test_a_running_task_is_explained_and_not_cancelled(blocked: Crew) -> None:
    (running,) = [start for start in blocked.journal.starts() if start.task == "proj.hold"][-1:]
    assert blocked.proj.turgor.explain(running.id).state is TaskState.RUNNING
    assert blocked.proj.turgor.cancel(running.id) is Cancelled.RELEASED


@pytest.mark.parametrize("task", ["proj.call", "proj.free"])
def test_a_delayed_task_is_explained_and_cancelled(crew: Crew, task: str) -> None:
    turgor: Any = crew.proj.turgor
    result = crew.proj.app.tasks[task].apply_async(countdown=60)
    explained = turgor.explain(result.id)
    assert explained.state is TaskState.DELAYED
    assert 50 < explained.opens_in_s <= 60
    assert turgor.cancel(result.id) is Cancelled.CANCELLED


def test_a_retry_that_waits_is_found_by_the_tasks_id(crew: Crew) -> None:
    result = crew.proj.flaky.delay(1, countdown=60)
    crew.start_of(result.id)
    wait_until(lambda: crew.proj.turgor.explain(result.id).state is TaskState.DELAYED, description="the retry waits")
    assert crew.proj.turgor.cancel(result.id) is Cancelled.CANCELLED


def test_a_task_that_nobody_knows_is_unknown(crew: Crew) -> None:
    assert crew.proj.turgor.explain("nobody").state is TaskState.UNKNOWN
    assert crew.proj.turgor.cancel("nobody") is Cancelled.UNKNOWN
