"""Who asks for a task travels with it: to its retries, its callbacks and the tasks that it calls."""

from __future__ import annotations

from typing import Any

from celery import chain, chord

from crew import Crew
from support import wait_until

CALLER: dict[str, Any] = {"loop": "planner-7", "loop_type": "planner", "priority": 8}
NOBODY: dict[str, Any] = {"loop": None, "loop_type": None, "priority": 5}


def caller(headers: dict[str, Any]) -> dict[str, Any]:
    return {name: headers[name] for name in CALLER}


def test_a_child_has_the_loop_the_loop_type_and_the_priority_of_its_parent(crew: Crew) -> None:
    child = crew.proj.parent.apply_async(({},), **CALLER).get(timeout=10)
    assert caller(crew.start_of(child).headers) == CALLER


def test_what_a_task_costs_is_not_inherited(crew: Crew) -> None:
    child = crew.proj.parent.apply_async(({},), weight=3, tokens=7, max_wait=5).get(timeout=10)
    headers = crew.start_of(child).headers
    assert (headers["weight"], headers["tokens"]) == (None, None)


def test_an_unlimited_parent_passes_its_caller_on(crew: Crew) -> None:
    result = crew.proj.flaky_free.apply_async((1,), **CALLER)
    assert caller(crew.start_of(result.get(timeout=10)).headers) == CALLER


def test_options_of_the_call_win_over_the_parents(crew: Crew) -> None:
    given = {"loop": "other", "loop_type": "cron", "priority": 1}
    child = crew.proj.parent.apply_async((given,), **CALLER).get(timeout=10)
    assert caller(crew.start_of(child).headers) == given


def test_lowest_priority_is_a_priority(crew: Crew) -> None:
    child = crew.proj.parent.apply_async(({"priority": 0},), **CALLER).get(timeout=10)
    assert crew.start_of(child).headers["priority"] == 0


def test_a_task_without_a_parent_belongs_to_nobody(crew: Crew) -> None:
    assert caller(crew.start_of(crew.proj.call.delay().id).headers) == NOBODY


def test_retries_keep_caller_cost_and_service(crew: Crew) -> None:
    given = {**CALLER, "weight": 3, "tokens": 7, "service": "narrow"}
    result = crew.proj.flaky.apply_async((1,), **given)
    assert result.get(timeout=10) == 1
    first, second = crew.journal.starts(result.id)
    assert first.headers == second.headers == {**given, "endpoint": None}


def test_options_of_the_retry_win_and_stay(crew: Crew) -> None:
    changed = {"loop": "other", "loop_type": "cron", "priority": 1, "weight": 1, "tokens": 0}
    result = crew.proj.flaky.apply_async((1,), {"failures": 2, "options": changed}, **CALLER, weight=3, tokens=7)
    assert result.get(timeout=10) == 1
    first, *others = [start.headers for start in crew.journal.starts(result.id)]
    assert (caller(first), first["weight"], first["tokens"]) == (CALLER, 3, 7)
    for headers in others:
        assert headers == {
            "loop": "other",
            "loop_type": "cron",
            "priority": 1,
            "service": "api",
            "endpoint": None,
            "weight": None,
            "tokens": 0,
        }


def test_custom_headers_survive_a_retry(crew: Crew) -> None:
    result = crew.proj.flaky.apply_async((1,), headers={"tenant": "acme"}, **CALLER)
    assert result.get(timeout=10) == 1
    assert [start.custom for start in crew.journal.starts(result.id)] == ["acme", "acme"]


def test_an_unlimited_task_that_retries_does_not_become_background_work(crew: Crew) -> None:
    """Plain Celery sends a task without a priority as priority 0, and a retry takes that for its own."""
    result = crew.proj.flaky_free.apply_async((1,), {"countdown": 0.05})
    assert caller(crew.start_of(result.get(timeout=10)).headers) == NOBODY


def test_chains_chords_and_callbacks_keep_the_caller(crew: Crew) -> None:
    proj = crew.proj
    steps = chain(proj.call.s(1), proj.add.s(1), chord([proj.add.s(2), proj.add.s(3)], proj.total.s()), proj.call.s())
    result = steps.apply_async(**CALLER)
    assert result.get(timeout=20) == 9
    family = [start for start in crew.journal.starts() if start.root == crew.journal.starts(result.id)[0].root]
    assert len(family) == 6
    assert [caller(start.headers) for start in family] == [CALLER] * 6


def test_the_replacement_and_the_callback_keep_the_caller(crew: Crew) -> None:
    callback = crew.proj.call.s().set(task_id="callback")
    result = crew.proj.swap.apply_async((1,), link=callback, **CALLER)
    assert result.get(timeout=10) == 1
    replaced = crew.journal.starts(result.id)
    wait_until(lambda: crew.journal.starts("callback"), description="the callback starts")
    assert [caller(start.headers) for start in (*replaced, *crew.journal.starts("callback"))] == [CALLER] * 3


def test_what_the_task_declares_counts_where_nobody_says_otherwise(crew: Crew) -> None:
    proj = crew.proj
    declared = crew.start_of(proj.declared.delay().id).headers
    assert declared == {
        "loop": "nightly", "loop_type": "cron", "priority": 5, "service": "api", "endpoint": "chat", "weight": 2, "tokens": 5,
    }  # fmt: skip
    called = crew.start_of(proj.declared.apply_async(loop="planner-7", priority=9, weight=1).id).headers
    assert (called["loop"], called["loop_type"], called["priority"], called["weight"]) == ("planner-7", "cron", 9, None)


def test_whoever_calls_after_a_task_inherits_nothing_from_it(crew: Crew) -> None:
    crew.proj.call.apply_async((1,), **CALLER).get(timeout=10)
    assert caller(crew.start_of(crew.proj.call.delay().id).headers) == NOBODY
