"""A service under pressure is relieved: new work is shed, or another task is submitted in its place."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from celery import chain
from redis import Redis

from crew import AppSettings, Crew, Hire
from turgor.limits import LimitsConfig
from turgor.scheduler import pressure_book
from turgor.worker import BatchRefused, LoopCall, Priority, ServiceUnderPressure, TaskState
from turgor.worker.declared import tasks_that_never_run
from turgor.worker.envelope import stored_messages


def limits(*steps: dict[str, Any], **service: Any) -> dict[str, Any]:
    """A service that is under a pressure of 60 s for each task that waits."""
    return {"services": {"api": {"requests_per_minute": 1, **service, "degradation": steps}, "other": {}}}


SHED = {"wait": "1m", "shed_below": "NORMAL"}
CHEAPER = {"wait": "1m", "degrade_to": "proj.free"}


@pytest.fixture(autouse=True)
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pressure that a process knows is up to a second old, and no test waits for it."""
    monkeypatch.setattr(pressure_book, "REFRESH_S", 0.0)


@pytest.fixture
def build(redis_client: Redis, settings: AppSettings) -> Any:
    """An application without workers, whose service takes one call a minute, and has taken it."""

    def build(*steps: dict[str, Any], busy: bool = True, **service: Any) -> ModuleType:
        proj = settings.but(limits=limits(*steps, **service), conf={"task_routes": {"proj.declared": {"queue": "cheap"}}}).load()
        if busy:
            proj.call.apply_async(("the first one",), weight=service.get("requests_per_minute", 1), priority=9)
        return proj

    return build


def task_of(proj: ModuleType, task_id: str) -> str:
    ((_, message),) = stored_messages(proj.turgor.client, proj.turgor.keys, task_id)
    return message["headers"]["task"]


def test_work_below_the_priority_is_refused_at_its_submit_and_stored_nowhere(build: Any) -> None:
    proj = build(SHED)
    with pytest.raises(ServiceUnderPressure) as caught:
        proj.call.apply_async(("x",), task_id="low", priority=Priority.LOW)
    assert str(caught.value) == (
        "proj.call: service:api is under pressure and sheds work of priority LOW, because work like this waits 60.0 s: "
        "try again in 60.0 s, or with a higher priority"
    )
    assert (caught.value.service, caught.value.priority, caught.value.retry_after) == ("api", 2, 60.0)
    assert proj.turgor.explain("low").state is TaskState.UNKNOWN
    assert proj.turgor.statistics().relieved["api"].shed == 1
    assert proj.turgor.statistics().notes == ["service:api: 1 shed, 0 degraded"]


def test_work_from_the_priority_on_waits_as_ever(build: Any) -> None:
    proj = build(SHED)
    assert proj.turgor.explain(proj.call.delay("x").id).state is TaskState.WAITING
    assert proj.turgor.statistics().relieved == {}


def test_without_pressure_nothing_is_relieved(build: Any) -> None:
    proj = build(SHED, CHEAPER, busy=False)
    result = proj.call.apply_async(("x",), priority=0)
    assert proj.turgor.explain(result.id).state is TaskState.RELEASED


def test_a_step_that_holds_lets_work_wait_whatever_comes_after(build: Any) -> None:
    proj = build({"wait": "1m", "hold": True, "below": "HIGH"}, {"wait": "1m", "degrade_to": "proj.other"})
    assert task_of(proj, proj.call.apply_async(("x",), priority=0).id) == "proj.call"


def test_an_open_breaker_sheds(build: Any) -> None:
    proj = build({"breaker": "open", "shed_below": 9}, busy=False, breaker={"minimum_calls": 1})
    proj.turgor.limiter.acquire(service="api").failed()
    with pytest.raises(ServiceUnderPressure, match=r"because its breaker is open for .* s more: try again in"):
        proj.call.delay()


def test_a_degraded_task_costs_and_goes_where_it_says_itself_and_the_caller_is_told(build: Any) -> None:
    """`proj.declared` says all about itself; the caller has said who it is, and that stays."""
    proj = build({"wait": "1m", "degrade_to": "proj.declared"}, requests_per_minute=2)
    result = proj.turgor.loop("planner-7", priority=7).submit(proj.call, ({"a": 1},), weight=1, task_id="here")
    ((_, message),) = stored_messages(proj.turgor.client, proj.turgor.keys, "here")
    headers = message["headers"]
    assert (headers["task"], headers["degraded_from"]) == ("proj.declared", "proj.call")
    assert (headers["loop"], headers["priority"]) == ("planner-7", 7)
    assert (headers["loop_type"], headers["endpoint"], headers["weight"], headers["tokens"]) == ("cron", "chat", 2, 5)
    assert message["properties"]["delivery_info"]["routing_key"] == "cheap"
    assert (result.id, result.degraded_to) == ("here", "proj.declared")
    assert proj.turgor.statistics().relieved["api"].degraded == 1


def test_a_task_is_degraded_once(build: Any) -> None:
    """The fallback may have the same service, and the same pressure."""
    proj = build({"wait": "1m", "degrade_to": "proj.declared"}, requests_per_minute=2)
    assert task_of(proj, proj.call.delay().id) == "proj.declared"
    assert task_of(proj, proj.declared.delay().id) == "proj.declared"
    assert proj.turgor.statistics().relieved["api"].degraded == 1


def test_work_that_is_to_run_later_is_not_judged_by_the_pressure_of_now(build: Any) -> None:
    proj = build(SHED)
    result = proj.call.apply_async(("x",), priority=0, countdown=60)
    assert proj.turgor.explain(result.id).state is TaskState.DELAYED


def test_of_a_batch_those_that_are_shed_are_named_and_the_others_submitted(build: Any) -> None:
    proj = build(SHED)
    loop = proj.turgor.loop("planner-7")
    with pytest.raises(BatchRefused, match=r"^1 of 3 calls are refused; call 1: .*under pressure") as caught:
        loop.submit_many([proj.call.s(1), LoopCall(proj.call, (2,), options={"priority": 0}), proj.call.s(3)])
    assert isinstance(caught.value.refused[1], ServiceUnderPressure)
    states = [proj.turgor.explain(each.id).state for each in caught.value.results]
    assert states == [TaskState.WAITING, TaskState.UNKNOWN, TaskState.WAITING]


def test_limits_check_names_a_fallback_that_no_app_has(build: Any) -> None:
    proj = build(CHEAPER, busy=False)

    def said(step: dict[str, Any]) -> list[str]:
        lines = tasks_that_never_run(proj.app, LimitsConfig.load(limits(step)))
        return [line for line in lines if "degradation" in line]

    assert said(CHEAPER) == []
    assert said({"wait": "1m", "degrade_to": "proj.fre"}) == [
        "services.api.degradation: the app has no task 'proj.fre' to degrade to; did you mean 'proj.free'?"
    ]


def test_a_worker_says_at_its_start_that_it_has_no_such_fallback(hire: Hire, settings: AppSettings) -> None:
    """It would discard the task, as Celery does with all that it does not know."""
    crew = hire(settings.but(limits=limits({"wait": "1m", "degrade_to": "proj.fre"})), pool="solo")
    assert "the app has no task 'proj.fre' to degrade to; did you mean 'proj.free'?" in crew.worker.log


def test_the_cheaper_task_runs_in_its_place_with_its_id_arguments_and_callbacks(hire: Hire, settings: AppSettings) -> None:
    crew = hire(settings.but(limits=limits(CHEAPER)))
    proj = crew.proj
    proj.call.delay("the first one").get(timeout=10)
    result = proj.call.apply_async(("cheap",), link=proj.free.s())
    assert result.get(timeout=10) == "cheap"
    assert crew.start_of(result.id).task == "proj.free"
    crew.wait_until_idle()


def test_what_follows_an_accepted_task_is_never_shed(hire: Hire, settings: AppSettings) -> None:
    """The rest of a chain is published by the worker, where nobody would hear of a refusal."""
    crew: Crew = hire(
        settings.but(limits={"services": {"api": {"requests_per_second": 1, "degradation": [{"wait": "1ms", "shed_below": 9}]}}})
    )
    proj = crew.proj
    result = chain(proj.free.s(1), proj.add.s(1), proj.add.s(2)).apply_async()
    assert result.get(timeout=20) == 4
    crew.wait_until_idle()
