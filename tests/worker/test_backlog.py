"""A cap on the waiting work, seen by those who submit and by those who wait for results."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord
from celery.result import AsyncResult

from crew import Crew
from support import wait_until
from turgor.limits.errors import TurgorError
from turgor.worker import BatchRefused, QueueFull, TaskShed, TaskState

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
    with pytest.raises(QueueFull, match="the backlog of service:bounded is full: 2 of 2 tasks wait") as caught:
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


SHEDDING: dict[str, Any] = {"service": "shedding"}


@pytest.fixture
def crowded(crew: Crew, opened: Path) -> Iterator[Crew]:
    """The service `shedding` has one slot, which is taken, and drops what is too much."""
    blocker = crew.proj.hold.apply_async((str(opened),), **SHEDDING)
    crew.start_of(blocker.id)
    yield crew
    opened.touch()
    crew.wait_until_idle()


def test_a_dropped_task_fails_where_its_caller_waits_and_its_error_callback_runs(crowded: Crew, opened: Path) -> None:
    proj = crowded.proj
    errback = proj.call.s().set(task_id=f"errback-{opened}")
    oldest = proj.call.apply_async((0,), link_error=errback, **SHEDDING)
    others = [proj.call.apply_async((number,), **SHEDDING) for number in (1, 2)]
    with pytest.raises(TaskShed, match=r"proj\.call was dropped for new work: the backlog of service:shedding was full"):
        oldest.get(timeout=10)
    assert proj.app.AsyncResult(f"errback-{opened}").get(timeout=10) == oldest.id
    opened.touch()
    assert [each.get(timeout=10) for each in others] == [1, 2]


def test_a_chord_fails_with_the_member_that_was_dropped(crowded: Crew) -> None:
    proj = crowded.proj
    result = chord([proj.call.s(1).set(**SHEDDING), proj.call.s(2)], proj.total.s()).delay()
    for number in range(2):
        proj.call.apply_async((number,), **SHEDDING)
    with pytest.raises(TaskShed):
        result.get(timeout=10)


def test_what_was_dropped_and_not_told_is_told_by_the_next_dispatcher(crowded: Crew) -> None:
    """Whoever was to tell it has died on the way."""
    proj = crowded.proj
    first = proj.call.apply_async((0,), **SHEDDING)
    proj.call.apply_async((1,), **SHEDDING)
    proj.turgor.client.set(proj.turgor.keys(f"settling:{first.id}"), 1, px=500)
    proj.call.apply_async((2,), **SHEDDING)
    assert first.state == "PENDING"
    wait_until(lambda: first.state == "FAILURE", description="the next dispatcher tells")


BLOCKING: dict[str, Any] = {"service": "blocking"}


@pytest.fixture
def jammed(crew: Crew, opened: Path) -> Iterator[Crew]:
    """The service `blocking` has one slot, which is taken, and two tasks wait: no more may. Submitters wait 0.4 s."""
    blocker = crew.proj.hold.apply_async((str(opened),), **BLOCKING)
    crew.start_of(blocker.id)
    for number in range(2):
        crew.proj.call.apply_async((number,), **BLOCKING)
    yield crew
    opened.touch()
    crew.wait_until_idle()


def test_a_submitter_waits_for_room_and_no_longer_than_it_may(jammed: Crew) -> None:
    began = time.monotonic()
    with pytest.raises(QueueFull, match="service:blocking"):
        jammed.proj.call.apply_async((3,), **BLOCKING)
    assert 0.4 <= time.monotonic() - began < 5


def test_a_submitter_that_waits_is_called_when_there_is_room(jammed: Crew, opened: Path) -> None:
    threading.Timer(0.1, opened.touch).start()
    began = time.monotonic()
    result = jammed.proj.call.apply_async((3,), **BLOCKING)
    assert time.monotonic() - began >= 0.1
    assert result.get(timeout=10) == 3


def test_a_batch_waits_once_and_names_those_that_found_no_room(jammed: Crew) -> None:
    proj = jammed.proj
    began = time.monotonic()
    with pytest.raises(BatchRefused) as caught:
        proj.turgor.loop("planner-7", **BLOCKING).submit_many([proj.call.s(number) for number in range(8)])
    assert len(caught.value.refused) == 8
    assert time.monotonic() - began < 8 * 0.4
