"""A loop submits, alone or many at once, knows where its work is, waits for it and takes it back."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import chain
from celery.signals import before_task_publish
from redis import Redis
from redis.exceptions import ConnectionError as LostReply

from crew import AppSettings, Crew, Hire, leftovers
from turgor.limits.errors import CostTooLarge
from turgor.worker import BatchRefused, LoopCall, LoopStatus, TaskState


@pytest.fixture
def proj(redis_client: Redis, settings: AppSettings) -> ModuleType:
    """An application that no worker knows."""
    return settings.load()


def test_what_a_loop_submits_runs_as_its_own(crew: Crew) -> None:
    loop = crew.proj.turgor.loop("planner-7", type="planner", priority=7)
    results = [loop.submit(crew.proj.add, (1,), {"y": 2}), loop.submit("proj.add", (3, 4), priority=9)]
    assert [each.get(timeout=10) for each in results] == [3, 7]
    seen = [crew.start_of(each.id).headers for each in results]
    assert [(each["loop"], each["loop_type"], each["priority"]) for each in seen] == [
        ("planner-7", "planner", 7),
        ("planner-7", "planner", 9),
    ]


def test_many_are_submitted_as_each_alone_would_be(crew: Crew) -> None:
    proj = crew.proj
    loop = proj.turgor.loop("planner-7")
    calls = [
        *(proj.add.s(i, 1) for i in range(600)),
        LoopCall(proj.add, (1, 1), options={"priority": 9}),
        LoopCall("proj.add", (2,), {"y": 2}),
        LoopCall(proj.free, ("free",)),
        chain(proj.add.s(1, 2), proj.add.s(3)),
        proj.add.s(1, 0).set(countdown=0.2),
    ]
    results = loop.submit_many(calls)
    assert [each.get(timeout=20) for each in results] == [*range(1, 601), 2, 4, "free", 6, 1]
    assert crew.start_of(results[600].id).headers["priority"] == 9
    assert {crew.start_of(each.id).headers["loop"] for each in results} == {"planner-7"}
    assert len({each.id for each in results}) == len(results)


def test_the_messages_of_a_batch_differ_in_nothing_from_those_of_single_calls(proj: ModuleType) -> None:
    from turgor.worker.envelope import stored_messages

    def stored(task_id: str) -> Any:
        ((_, message),) = stored_messages(proj.turgor.client, proj.turgor.keys, task_id)
        return message

    proj.turgor.pause("service:api")
    loop = proj.turgor.loop("planner-7", type="planner")
    proj.declared.apply_async(({"a": "ü"},), task_id="same", weight=3, loop="planner-7", loop_type="planner")
    alone = stored("same")
    proj.turgor.cancel("same")
    proj.turgor.scheduler.submit = None  # so that nothing goes alone
    loop.submit_many([LoopCall(proj.declared, ({"a": "ü"},), options={"task_id": "same", "weight": 3})])
    assert stored("same") == alone


def test_a_batch_that_is_sent_twice_is_stored_once(proj: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = proj.turgor.scheduler
    submit_many, sent = scheduler.submit_many, []

    def lose_the_first_reply(tasks: Any) -> Any:
        answers = submit_many(tasks)
        sent.append(len(tasks))
        if len(sent) == 1:
            raise LostReply("the reply was lost")
        return answers

    monkeypatch.setattr(scheduler, "submit_many", lose_the_first_reply)
    proj.turgor.pause("service:api")
    loop = proj.turgor.loop("planner-7")
    results = loop.submit_many([proj.call.s(i) for i in range(3)])
    assert sent == [3, 3]
    assert loop.status() == LoopStatus(3, 0, 0, 0, ("service:api",))
    assert [proj.turgor.explain(each.id).ahead for each in results] == [0, 1, 2]


def test_a_server_that_forgot_the_scripts_is_given_them(proj: ModuleType, redis_client: Redis) -> None:
    loop = proj.turgor.loop("planner-7")
    loop.submit(proj.call)
    redis_client.script_flush()
    loop.submit_many([proj.call.s(i) for i in range(3)])
    assert loop.status().released == 4


def test_calls_that_can_never_run_are_named_and_the_others_are_submitted(proj: ModuleType) -> None:
    loop = proj.turgor.loop("planner-7")
    dear = LoopCall(proj.call, (), None, {"service": "small", "tokens": 1001})
    with pytest.raises(BatchRefused, match=r"^1 of 3 calls are refused; call 1: .*1001") as caught:
        loop.submit_many([proj.call.s(1), dear, proj.call.s(2)])
    assert isinstance(caught.value.refused[1], CostTooLarge)
    assert [proj.turgor.explain(each.id).state for each in caught.value.results] == ["released", "unknown", "released"]


def test_the_status_counts_the_loops_own_tasks_in_each_state(crew: Crew, tmp_path: Path) -> None:
    proj = crew.proj
    loop, other = proj.turgor.loop("planner-7"), proj.turgor.loop("planner-8")
    running = loop.submit(proj.hold, (str(tmp_path / "open"),))
    crew.start_of(running.id)
    loop.submit_many([proj.single.s(), proj.single.s(), proj.single.s().set(countdown=60)])
    other.submit(proj.single)
    assert loop.status() == LoopStatus(2, 1, 0, 1, ("service:single",))
    assert str(loop.status()) == "2 waiting, 1 delayed, 0 released, 1 running; held by service:single"
    assert loop.cancel_all() == 3
    (tmp_path / "open").touch()
    crew.wait_until_idle()
    assert loop.status() == LoopStatus(0, 0, 0, 0, ())


def test_a_loop_takes_its_own_tasks_back_and_no_others(proj: ModuleType, redis_client: Redis) -> None:
    proj.turgor.pause("service:api")
    loop, other = proj.turgor.loop("planner-7"), proj.turgor.loop("planner-8")
    mine = loop.submit_many([proj.call.s(i) for i in range(5)] + [proj.call.s().set(countdown=60)])
    theirs = other.submit(proj.call)
    assert not loop.cancel(theirs.id)
    assert not loop.cancel("nobody")
    assert loop.cancel(mine[2].id)
    assert mine[2].state == "REVOKED"
    assert loop.cancel_all() == 5
    assert {each.state for each in mine} == {"REVOKED"}
    assert proj.turgor.explain(theirs.id).state is TaskState.WAITING
    assert other.cancel_all() == 1
    assert not leftovers(redis_client, proj.turgor.keys.prefix)


def test_a_wait_tells_what_has_ended_from_what_has_not(crew: Crew, tmp_path: Path) -> None:
    proj = crew.proj
    loop = proj.turgor.loop("planner-7")
    good, bad = loop.submit(proj.call, (1,)), loop.submit(proj.call, (), None, headers={}, retry=False)
    revoked = loop.submit(proj.call, countdown=60)
    loop.cancel(revoked.id)
    held = loop.submit(proj.linger, (str(tmp_path / "open"),))
    waited = loop.wait([good, held, bad.id, revoked], timeout=2)
    assert [each.id for each in waited.done] == [good.id, bad.id, revoked.id]
    assert waited.pending == [held]
    (tmp_path / "open").touch()
    assert loop.wait([held]).done == [held]
    crew.wait_until_idle()


def test_a_loop_needs_a_name(proj: ModuleType) -> None:
    with pytest.raises(ValueError, match="give the loop a name"):
        proj.turgor.loop("")


PACED: dict[str, Any] = {"services": {"paced": {"requests_per_second": 1}}}


def test_a_submit_says_when_its_task_will_start_and_how_far_off_that_was_is_known(hire: Hire, settings: AppSettings) -> None:
    """A service takes one call a second: the second call is told of a second, and waits about that."""
    crew = hire(settings.but(limits=PACED))
    loop = crew.proj.turgor.loop("planner-7")
    first, second = (loop.submit(crew.proj.call, service="paced") for _ in range(2))
    assert first.explanation
    assert second.explanation
    assert first.explanation.state is TaskState.RELEASED
    assert first.expected_start == first.submitted_at
    assert second.explanation.held_by == "service:paced requests/1s"
    assert second.expected_start is not None
    assert 0 < (second.expected_start - second.submitted_at).total_seconds() <= 1.1
    assert loop.wait([first, second], timeout=10).pending == []
    crew.wait_until_idle()
    figures = crew.proj.turgor.statistics().forecasts
    assert figures.judged == 1
    assert figures.median_wait_s > 0
    assert figures.p90_error_s == abs(figures.bias_s)


def test_a_retry_is_not_held_against_the_forecast_of_the_first_attempt(hire: Hire, settings: AppSettings) -> None:
    crew = hire(settings.but(limits=PACED))
    loop = crew.proj.turgor.loop("planner-7")
    loop.submit(crew.proj.call, service="paced")
    result = loop.submit(crew.proj.again, ([1, 1],), service="paced")
    assert result.get(timeout=10) == 1
    crew.wait_until_idle()
    assert [each.forecast for each in crew.journal.starts(result.id)] == [True, None]
    assert crew.proj.turgor.statistics().forecasts.judged == 1


def test_a_task_that_no_limit_concerns_has_no_explanation(proj: ModuleType) -> None:
    result = proj.turgor.loop("planner-7").submit(proj.free, ("x",))
    assert (result.explanation, result.expected_start) == (None, None)


def test_what_a_signal_handler_publishes_does_not_take_the_receipt(proj: ModuleType) -> None:
    def publish_another(sender: str, **_: Any) -> None:
        if sender == "proj.call":
            proj.free.delay("from the handler")

    before_task_publish.connect(publish_another)
    try:
        result = proj.turgor.loop("planner-7").submit(proj.call)
    finally:
        before_task_publish.disconnect(publish_another)
    assert result.explanation is not None
    assert result.explanation.task == result.id


def test_a_submit_stands_though_the_server_dies_before_the_forecast(proj: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*_: Any, **__: Any) -> None:
        raise LostReply("no answer")

    proj.turgor.pause("service:api")
    monkeypatch.setattr(proj.turgor.forecasts, "expect", break_off)
    result = proj.turgor.loop("planner-7").submit(proj.call)
    assert result.explanation is None
    assert proj.turgor.explain(result.id).state is TaskState.WAITING
