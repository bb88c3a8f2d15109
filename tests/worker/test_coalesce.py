"""Calls that ask for what waits already, seen by those who make them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, group

from crew import Crew
from turgor.worker import Coalesced, LoopCall, QueueFull

SINGLE: dict[str, Any] = {"service": "single"}
COALESCING: dict[str, Any] = {"service": "coalescing"}


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """Once this file exists, the work that holds the only slot of each service ends."""
    return tmp_path / "open"


@pytest.fixture
def busy(crew: Crew, opened: Path) -> Iterator[Crew]:
    """The services `single` and `coalescing` have one slot each, which is taken; two tasks may wait for the second."""
    for service in (SINGLE, COALESCING):
        crew.start_of(crew.proj.hold.apply_async((str(opened),), **service).id)
    yield crew
    opened.touch()
    crew.wait_until_idle()


def test_a_call_whose_key_waits_is_not_run_again_and_its_result_names_the_one_that_waits(busy: Crew, opened: Path) -> None:
    call = busy.proj.call
    first = call.apply_async((1,), coalesce="user-7", **SINGLE)
    second = call.apply_async((2,), coalesce="user-7", **SINGLE)
    other = call.apply_async((3,), coalesce="user-8", **SINGLE)
    with pytest.raises(Coalesced, match=f"proj.call was coalesced into task {first.id}, which waited already") as caught:
        second.get(timeout=10)
    assert caught.value.into == first.id
    assert (second.state, second.ready(), second.successful()) == ("REVOKED", True, False)
    opened.touch()
    assert (first.get(timeout=10), other.get(timeout=10)) == (1, 3)
    busy.wait_until_idle()
    third = call.apply_async((4,), coalesce="user-7", **SINGLE)
    assert third.get(timeout=10) == 4


def test_the_result_of_a_loop_is_that_of_the_task_that_stands_for_the_call(busy: Crew, opened: Path) -> None:
    proj = busy.proj
    loop = proj.turgor.loop("planner-7", coalesce=True, **SINGLE)
    first, second, other = (loop.submit(proj.call, (value,)) for value in (1, 1, 2))
    assert (first.coalesced_into, second.coalesced_into, other.coalesced_into) == (None, first.id, None)
    assert second.id == first.id
    assert second.explanation.task == first.id
    opened.touch()
    assert [each.get(timeout=10) for each in (first, second, other)] == [1, 1, 2]


def test_a_batch_coalesces_its_own_calls_too(busy: Crew, opened: Path) -> None:
    proj = busy.proj
    loop = proj.turgor.loop("planner-7", **SINGLE)
    results = loop.submit_many(LoopCall(proj.call, (value,), options={"coalesce": True}) for value in (1, 2, 1, 2))
    assert [each.id for each in results[2:]] == [each.id for each in results[:2]]
    opened.touch()
    assert [each.get(timeout=10) for each in results] == [1, 2, 1, 2]


def test_another_task_another_loop_and_other_arguments_ask_for_something_else(busy: Crew, opened: Path) -> None:
    proj = busy.proj
    calls: list[Any] = [
        proj.call.apply_async((1,), coalesce="k", **SINGLE),
        proj.free.apply_async((1,), coalesce="k", **SINGLE),
        proj.call.apply_async((1,), coalesce="k", loop="a", **SINGLE),
        proj.call.apply_async((1,), coalesce=True, **SINGLE),
        proj.call.apply_async(kwargs={"value": 1}, coalesce=True, **SINGLE),
        proj.call.apply_async((1,), coalesce=False, **SINGLE),
    ]
    opened.touch()
    assert [each.get(timeout=10) for each in calls] == [1] * 6


def test_what_others_wait_for_is_not_coalesced(busy: Crew, opened: Path) -> None:
    """A callback, the next step of a chain and the members of a group wait for the end of just this task."""
    proj = busy.proj
    waiting = proj.call.apply_async((1,), coalesce="k", **SINGLE)
    keyed = proj.call.s(2).set(coalesce="k", **SINGLE)
    linked = proj.call.s().set(task_id=f"linked-{waiting.id}")
    calls: list[Any] = [
        keyed.apply_async(link=linked),
        chain(keyed, proj.call.s()).delay(),
        chain(proj.call.s(2), proj.call.s().set(coalesce="k", **SINGLE)).delay(),
    ]
    members = group(keyed, keyed).delay()
    opened.touch()
    assert [each.get(timeout=10) for each in calls] == [2, 2, 2]
    assert members.get(timeout=10) == [2, 2]
    assert proj.app.AsyncResult(linked.options["task_id"]).get(timeout=10) == 2


def test_a_full_backlog_takes_only_what_it_holds_already(busy: Crew, opened: Path) -> None:
    call = busy.proj.call
    held = [call.apply_async((value,), **COALESCING) for value in (1, 1)]
    again = call.apply_async((1,), **COALESCING)
    with pytest.raises(Coalesced):
        again.get(timeout=10)
    with pytest.raises(QueueFull, match="service:coalescing"):
        call.apply_async((2,), **COALESCING)
    opened.touch()
    assert [each.get(timeout=10) for each in held] == [1, 1]


@pytest.mark.parametrize("key", ["", 7, b"k"])
def test_a_key_is_text(busy: Crew, key: Any) -> None:
    with pytest.raises(ValueError, match="give a key, as text, or True"):
        busy.proj.call.apply_async((1,), coalesce=key, **SINGLE)


def test_arguments_that_json_cannot_hold_need_a_key(busy: Crew) -> None:
    with pytest.raises(ValueError, match=r"coalesce=True: proj\.call: .*; give a key, as text"):
        busy.proj.call.apply_async((object(),), coalesce=True, **SINGLE)
