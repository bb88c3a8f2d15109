"""Tokens in a real application: estimated where nobody gives them, settled from inside the task, given back when it fails."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest
from redis import Redis

from crew import AppSettings, Crew, Hire
from support import wait_until
from turgor.limits import CostTooLarge, Estimate
from turgor.worker import NoRunningTask, TaskState, current

CAPACITY = 10_000
LIMITS: dict[str, Any] = {
    "services": {
        "llm": {"token_limits": {"per_minute": CAPACITY, "estimate": 2_000}},
        "api": {"requests_per_second": 500},
        "single": {"max_in_flight": 1},
    }
}


@pytest.fixture
def llm(settings: AppSettings) -> AppSettings:
    return settings.but(limits=LIMITS)


def left(turgor: Any) -> int:
    """Tokens that the service has left."""
    (usage,) = turgor.usage("service:llm")
    return usage.remaining


def headers_of(proj: ModuleType, task_id: str) -> dict[str, Any]:
    """`tokens` and `tokens_are` of the message that waits or is released under this id."""
    from turgor.worker.envelope import stored_messages

    ((_, message),) = stored_messages(proj.turgor.client, proj.turgor.keys, task_id)
    return {name: message["headers"].get(name) for name in ("tokens", "tokens_are")}


def learn(proj: ModuleType, name: str, *costs: int) -> None:
    """What tasks of this name settled elsewhere."""
    from turgor.limits.lua import LIMITS_LUA, Script

    script = Script(Path(__file__).parents[1] / "limits" / "lua" / "learn.lua", LIMITS_LUA)
    for cost in costs:
        script(proj.turgor.client, proj.turgor.keys.prefix, "", name, cost, "")


def test_a_task_of_which_nothing_is_known_reserves_the_estimate_of_its_service(llm: AppSettings) -> None:
    proj = llm.load()

    result = proj.complete.delay(5)

    assert headers_of(proj, result.id) == {"tokens": 2_000, "tokens_are": "default"}
    assert left(proj.turgor) == CAPACITY - 2_000


def test_a_task_reserves_what_nine_in_ten_of_its_name_have_cost(llm: AppSettings) -> None:
    proj = llm.load()
    learn(proj, "proj.complete", *range(10, 200, 10))

    result = proj.complete.delay(5)

    assert headers_of(proj, result.id) == {"tokens": 180, "tokens_are": "learned"}
    assert left(proj.turgor) == CAPACITY - 180
    assert proj.turgor.estimates() == {"proj.complete": Estimate(180, 19)}


@pytest.mark.parametrize("given", [0, 700])
def test_what_is_given_wins_over_what_is_learned(llm: AppSettings, given: int) -> None:
    proj = llm.load()
    learn(proj, "proj.complete", 50)

    result = proj.complete.apply_async((5,), tokens=given)

    assert headers_of(proj, result.id) == {"tokens": given, "tokens_are": None}
    assert left(proj.turgor) == CAPACITY - given


def test_what_is_learned_is_capped_at_the_limit_and_what_is_given_is_refused_above_it(llm: AppSettings) -> None:
    proj = llm.load()
    learn(proj, "proj.complete", 66_300)

    result = proj.complete.delay(5)

    assert headers_of(proj, result.id) == {"tokens": CAPACITY, "tokens_are": "learned"}
    with pytest.raises(CostTooLarge, match=r"costs 10001, but service:llm tokens/1m never holds more than 10000"):
        proj.complete.apply_async((5,), tokens=CAPACITY + 1)


def test_an_estimate_from_before_a_limit_was_lowered_is_capped_at_the_new_one(llm: AppSettings) -> None:
    proj, other = llm.load(), llm.but(limits={"services": {"llm": {"token_limits": {"per_minute": 300}}}}).load()
    proj.turgor.view.refresh()
    other.turgor.start()

    result = proj.complete.delay(5)

    assert headers_of(proj, result.id)["tokens"] == 300
    assert proj.turgor.explain(result.id).state is TaskState.RELEASED


def test_a_waiting_estimate_is_explained_and_cancelled_as_any_other(llm: AppSettings) -> None:
    proj = llm.load()
    proj.complete.apply_async((5,), tokens=CAPACITY)
    waiting = proj.complete.delay(5)

    explained = proj.turgor.explain(waiting.id)

    assert (explained.state, explained.held_by) == (TaskState.WAITING, "service:llm tokens/1m")
    assert proj.turgor.cancel(waiting.id) == "cancelled"


def test_a_task_that_no_token_limit_concerns_reserves_none(llm: AppSettings) -> None:
    proj = llm.load()

    result = proj.app.send_task("proj.call", kwargs={}, service="api")

    assert headers_of(proj, result.id) == {"tokens": None, "tokens_are": None}


def test_a_loop_of_costly_tasks_gets_its_share_in_tokens(llm: AppSettings) -> None:
    """Fairness counts what is learned: ten cheap tasks of one loop for each costly one of the other."""
    proj = llm.load()
    learn(proj, "proj.complete", 1_000)
    learn(proj, "proj.answer", 100)
    client, scheduler = proj.turgor.client, proj.turgor.scheduler
    first = proj.complete.apply_async((5,), tokens=CAPACITY)
    assert scheduler.claim(first.id, 1, "worker")
    client.delete("celery")
    for _ in range(40):
        proj.complete.apply_async((5,), loop="costly")
        proj.answer.apply_async(({},), loop="cheap")
        proj.answer.apply_async(({},), loop="cheap")

    scheduler.finish(first.id, 1)
    minute_later_us = (client.time()[0] + 62) * 10**6
    for step in range(20):
        scheduler.dispatch(now_us=minute_later_us + step)
    names = [str(message) for message in client.lrange("celery", 0, -1)]

    costly, cheap = (sum(name in message for message in names) for name in ("proj.complete", "proj.answer"))
    assert (costly, cheap) == (5, 50)


def test_outside_a_task_nothing_can_be_settled() -> None:
    with pytest.raises(NoRunningTask, match="no task runs in this thread: use `current` inside a task"):
        current.settle(5)
    with pytest.raises(NoRunningTask):
        current.settle_response({})
    assert repr(current) == "<no running task>"


@pytest.mark.parametrize("tokens", [-1, 1.5, True, "5", None])
def test_a_cost_that_is_no_number_of_tokens_is_refused_by_name(tokens: Any) -> None:
    with pytest.raises(ValueError, match=r"^tokens: .* at least 0$"):
        current.settle(tokens)


def test_a_task_that_is_called_in_this_process_settles_nothing(llm: AppSettings) -> None:
    proj = llm.load()

    assert proj.complete.apply((700,)).state == "SUCCESS"
    assert left(proj.turgor) == CAPACITY
    assert proj.turgor.estimates() == {}


# With a worker


@pytest.fixture(params=["prefork", "threads"])
def llm_crew(request: pytest.FixtureRequest, llm: AppSettings, hire: Hire) -> Crew:
    return hire(llm, pool=request.param)


def test_a_running_task_settles_what_it_cost(llm_crew: Crew) -> None:
    proj = llm_crew.proj

    proj.complete.delay(900, 250).get(timeout=10)
    llm_crew.wait_until_idle()
    assert left(proj.turgor) == CAPACITY - 250, "the last number counts"
    assert proj.turgor.estimates() == {"proj.complete": Estimate(250, 1)}

    usage = {"usage": {"input_tokens": 20, "output_tokens": 30, "cache_read_input_tokens": 50}}
    assert proj.answer.delay(usage).get(timeout=10) == 100
    assert proj.answer.apply_async(({"text": "hi"},), tokens=40).get(timeout=10) is None
    with pytest.raises(ValueError, match="on purpose"):
        proj.broken.delay().get(timeout=10)
    with pytest.raises(ValueError, match="on purpose"):
        proj.broken.delay(60).get(timeout=10)
    assert proj.outside.delay(9_999).get(timeout=10) == "done"
    assert proj.app.tasks["proj.call"].delay("free of tokens").get(timeout=10) == "free of tokens"
    llm_crew.wait_until_idle()

    assert left(proj.turgor) == CAPACITY - 250 - 100 - 40 - 60
    assert "proj.outside" not in proj.turgor.estimates()
    assert "the response states no usage, so the estimate stays charged" in llm_crew.worker.log


def test_each_attempt_of_a_retry_reserves_and_settles_its_own(llm: AppSettings, hire: Hire) -> None:
    crew = hire(llm)

    result = crew.proj.again.delay([100, 30, 7])

    assert result.get(timeout=10) == 2
    crew.wait_until_idle()
    assert left(crew.proj.turgor) == CAPACITY - 137
    assert crew.proj.turgor.estimates() == {"proj.again": Estimate(100, 3)}
    tokens = [start.headers["tokens"] for start in crew.journal.starts(result.id)]
    assert tokens[0] == 2_000
    assert set(tokens[1:]) <= {2_000, 100}, "an estimate is made anew, from what is known a second ago"


def test_throughput_rises_when_estimates_are_learned(llm: AppSettings, hire: Hire) -> None:
    """A task that reserves all of the budget runs alone; of those that reserve what they need, as many as there are threads."""
    windows = [{"limit": 4_000, "per": "1s"}]
    limits: dict[str, Any] = {"services": {"llm": {"token_limits": {"windows": windows, "estimate": 4_000}}}}
    crew = hire(llm.but(limits=limits), pool="threads", concurrency=4)

    def seconds_for_thirty(proj: ModuleType) -> float:
        began = time.monotonic()
        for result in [proj.complete.delay(100, seconds=0.1) for _ in range(30)]:
            result.get(timeout=30)
        return time.monotonic() - began

    by_default_s = seconds_for_thirty(crew.proj)
    assert crew.proj.turgor.estimates() == {"proj.complete": Estimate(100, 30)}
    learned_s = seconds_for_thirty(crew.settings.load())

    assert by_default_s >= 3.0
    assert learned_s < by_default_s / 2


def test_the_reserve_of_a_killed_worker_comes_back(llm: AppSettings, hire: Hire, tmp_path: Path) -> None:
    crew = hire(llm.but(options={"claim_within_s": 2, "lease_s": 2}))
    result = crew.proj.hold_tokens.apply_async((str(tmp_path / "open"),), tokens=9_000)
    crew.start_of(result.id)
    crew.worker.kill()
    turgor = crew.proj.turgor
    waiting = crew.proj.complete.apply_async((5,), tokens=8_000, priority=9)
    assert turgor.explain(waiting.id).held_by == "service:llm tokens/1m"

    def is_released() -> bool:
        turgor.scheduler.dispatch()
        return turgor.explain(waiting.id).state is TaskState.RELEASED

    wait_until(is_released, description="the reserve of the dead attempt goes to the task that waits")
    assert left(turgor) == 2_000


def test_a_cost_that_redis_could_not_be_told_goes_along_with_the_end(llm: AppSettings) -> None:
    from turgor.scheduler.scheduler import Scheduler, Settled
    from turgor.worker.running_task import RunningTask

    told: list[tuple[Any, ...]] = []

    class Recording(Scheduler):
        def settle_tokens(self, task: str, fence: str | int, tokens: int, *, name: str = "", now_us: int | str = "") -> Settled:
            told.append((task, fence, tokens, name))
            return Settled.SETTLED

    proj = llm.load()
    scheduler = Recording(proj.turgor.client, proj.turgor.keys)
    running = RunningTask()
    running.say(scheduler, "a", 1, "t")
    assert told == []

    running.unsaid["a", 1] = 70
    running.say(scheduler, "a", 1, "t")
    running.say(scheduler, "a", 1, "t")

    assert told == [("a", 1, 70, "t")]


def test_a_thread_of_its_own_runs_no_task(redis_client: Redis) -> None:
    errors: list[BaseException] = []

    def settle() -> None:
        try:
            current.settle(5)
        except NoRunningTask as error:
            errors.append(error)

    thread = Thread(target=settle)
    thread.start()
    thread.join()

    assert len(errors) == 1
