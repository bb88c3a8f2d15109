"""A cap on the waiting work, seen by those who submit and by those who wait for results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord
from celery.result import AsyncResult

from crew import Crew
from turgor.limits.errors import TurgorError
from turgor.worker import BatchRefused, QueueFull, TaskState

BOUNDED: dict[str, Any] = {"service": "bounded"}


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """Once this file exists, the work that holds the only slot of the service `bounded` ends."""
    return tmp_path / "open"


@pytest.fixture
def busy(crew: Crew, opened: Path) -> Iterator[Crew]:
    """The service `bounded` has one slot, which is taken, and room for two tasks to wait."""
    blocker = crew.proj.hold.apply_async((str(opened),), **BOUNDED)
    crew.start_of(blocker.id)
    yield crew
    opened.touch()
    crew.wait_until_idle()


def fill(crew: Crew) -> list[AsyncResult[Any]]:
    return [crew.proj.call.apply_async((number,), **BOUNDED) for number in range(2)]


def test_a_submit_for_which_there_is_no_room_raises_and_says_where(busy: Crew, opened: Path) -> None:
    held = fill(busy)
    with pytest.raises(QueueFull, match="the backlog of service:bounded is full: 2 tasks of 2 tasks wait") as caught:
        busy.proj.call.apply_async((3,), **BOUNDED)
    error = caught.value
    assert isinstance(error, TurgorError)
    assert (error.scope, error.unit, error.limit, error.current, error.retry_after) == ("service:bounded", "tasks", 2, 2, 1.0)
    assert busy.proj.turgor.explain(error.task).state is TaskState.UNKNOWN
    opened.touch()
    assert [each.get(timeout=10) for each in held] == [0, 1]


def test_room_that_comes_free_is_there_for_the_next(busy: Crew, opened: Path) -> None:
    held = fill(busy)
    busy.proj.turgor.cancel(held[1].id)
    third = busy.proj.call.apply_async((3,), **BOUNDED)
    opened.touch()
    assert third.get(timeout=10) == 3


def test_the_next_step_of_a_chain_finds_room(busy: Crew, opened: Path) -> None:
    fill(busy)
    proj = busy.proj
    result = chain(proj.add.s(1, 2), proj.call.s().set(**BOUNDED), proj.call.s()).delay()
    assert result.parent.parent.get(timeout=10) == 3  # pyright: ignore[reportOptionalMemberAccess]
    opened.touch()
    assert result.get(timeout=10) == 3


def test_the_body_of_a_chord_and_links_find_room(busy: Crew, opened: Path) -> None:
    fill(busy)
    proj = busy.proj
    summed = chord([proj.call.s(1), proj.call.s(2)], proj.total.s().set(**BOUNDED)).delay()
    linked = proj.call.s().set(task_id=f"linked-{summed.id}", **BOUNDED)
    assert proj.call.apply_async((7,), link=linked).get(timeout=10) == 7
    opened.touch()
    assert summed.get(timeout=10) == 3
    assert proj.app.AsyncResult(f"linked-{summed.id}").get(timeout=10) == 7


def test_an_error_callback_finds_room(busy: Crew, opened: Path) -> None:
    fill(busy)
    proj = busy.proj
    errback = proj.call.s().set(task_id=f"errback-{opened}", **BOUNDED)
    failed = proj.flaky.apply_async((1,), {"failures": 1, "options": {"max_retries": 0}}, link_error=errback)
    failed.get(timeout=10, propagate=False)
    opened.touch()
    assert proj.app.AsyncResult(f"errback-{opened}").get(timeout=10) == failed.id


def test_a_task_that_calls_another_is_refused_like_anybody(busy: Crew) -> None:
    fill(busy)
    with pytest.raises(QueueFull, match="service:bounded"):
        busy.proj.parent.delay(BOUNDED).get(timeout=10)


def test_a_retry_finds_room(busy: Crew) -> None:
    fill(busy)
    retry = busy.proj.call.apply_async((1,), retries=1, **BOUNDED)
    assert busy.proj.turgor.explain(retry.id).state is TaskState.WAITING


def test_a_batch_names_those_that_found_no_room(busy: Crew, opened: Path) -> None:
    proj = busy.proj
    loop = proj.turgor.loop("planner-7", **BOUNDED)
    with pytest.raises(BatchRefused) as caught:
        loop.submit_many([proj.call.s(number) for number in range(4)])
    assert list(caught.value.refused) == [2, 3]
    assert all(isinstance(error, QueueFull) for error in caught.value.refused.values())
    opened.touch()
    assert [each.get(timeout=10) for each in caught.value.results[:2]] == [0, 1]
