"""Turgor in eight steps. Read from top to bottom: each step uses what the ones before it have shown.

The application calls two services. The LLM API takes ten requests an hour here, so that what waits in this
tutorial waits for as long as you read; the git host takes one request at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from celery import Celery, chain
from celery.contrib.testing.worker import start_worker
from redis import Redis

from support import wait_until
from turgor.limits import Limiter, RateLimited
from turgor.worker import Cancelled, Priority, TaskState, Turgor, WaitTimeout

LIMITS = {
    "services": {
        "llm_api": {"requests_per_hour": 10},
        "git_host": {"max_in_flight": 1},
    },
    "tasks": {"tutorial.push": "git_host"},
}


class Tutorial:
    """An application of a few lines, and what happened in it."""

    def __init__(self, url: str) -> None:
        self.app = Celery("tutorial", broker=url, backend=url)
        self.turgor = Turgor(self.app, LIMITS)  # the one line
        self.order: list[str] = []
        self.host_answers = Event()

        @self.app.task(service="llm_api", shared=False)
        def complete(prompt: str) -> str:
            return f"an answer to {prompt}"

        @self.app.task(name="tutorial.push", shared=False)
        def push(branch: str) -> str:
            self.order.append(branch)
            self.host_answers.wait(30)
            return f"pushed {branch}"

        @self.app.task(shared=False)
        def tidy() -> str:
            return "tidied"

        self.complete: Any = complete
        self.push: Any = push
        self.tidy: Any = tidy


@pytest.fixture
def tutorial(server_url: str, redis_client: Redis) -> Iterator[Tutorial]:
    """The application with a worker. Its limits are fresh in each step."""
    tutorial = Tutorial(server_url)
    with start_worker(tutorial.app, pool="threads", concurrency=4, perform_ping_check=False, shutdown_timeout=30):
        yield tutorial
        tutorial.host_answers.set()


def test_step_1_a_task_says_which_service_it_calls_and_nothing_else_changes(tutorial: Tutorial) -> None:
    assert tutorial.complete.delay("hi").get(timeout=10) == "an answer to hi"
    assert chain(tutorial.complete.s("hi"), tutorial.complete.s()).delay().get(timeout=10) == "an answer to an answer to hi"


def test_step_2_what_is_over_the_limit_waits_and_can_be_asked_why(tutorial: Tutorial) -> None:
    results = [tutorial.complete.delay(n) for n in range(12)]
    assert [result.get(timeout=10) for result in results[:10]] == [f"an answer to {n}" for n in range(10)]

    explained = tutorial.turgor.explain(results[11].id)
    assert explained.state is TaskState.WAITING
    assert explained.ahead == 1
    assert explained.held_by == "service:llm_api requests/1h"
    assert 3000 < explained.opens_in_s <= 3700


def test_step_3_what_no_limit_concerns_does_not_wait_behind_it(tutorial: Tutorial) -> None:
    waiting = [tutorial.complete.delay(n) for n in range(100)]
    assert tutorial.tidy.delay().get(timeout=10) == "tidied"
    assert tutorial.turgor.explain(waiting[-1].id).ahead == 89


def test_step_4_a_task_may_get_its_service_from_the_table_of_tasks_and_a_slot_is_free_when_it_ends(tutorial: Tutorial) -> None:
    first, second = tutorial.push.delay("main"), tutorial.push.delay("next")
    wait_until(lambda: tutorial.order == ["main"], description="the first push has started")
    assert tutorial.turgor.explain(first.id).state is TaskState.RUNNING
    assert tutorial.turgor.explain(second.id).held_by == "service:git_host in_flight"

    tutorial.host_answers.set()
    assert second.get(timeout=10) == "pushed next"


def test_step_5_higher_priority_goes_first_even_if_it_comes_last(tutorial: Tutorial) -> None:
    tutorial.push.delay("main")
    wait_until(lambda: tutorial.order == ["main"], description="the first push has started")
    results = [
        tutorial.push.apply_async((priority.name,), priority=priority)
        for priority in (Priority.BACKGROUND, Priority.NORMAL, Priority.CRITICAL, Priority.HIGH)
    ]
    tutorial.host_answers.set()
    for result in results:
        result.get(timeout=10)
    assert tutorial.order == ["main", "CRITICAL", "HIGH", "NORMAL", "BACKGROUND"]


def test_step_6_callers_of_the_same_priority_take_turns(tutorial: Tutorial) -> None:
    tutorial.push.delay("main")
    wait_until(lambda: tutorial.order == ["main"], description="the first push has started")
    flood = [tutorial.push.apply_async((f"noisy {n}",), loop="noisy") for n in range(10)]
    quiet = tutorial.push.apply_async(("quiet",), loop="quiet")
    tutorial.host_answers.set()
    assert quiet.get(timeout=10) == "pushed quiet"
    flood[-1].get(timeout=10)
    assert tutorial.order.index("quiet") <= 2, tutorial.order


def test_step_7_a_wait_can_be_bounded_and_ended(tutorial: Tutorial) -> None:
    tutorial.push.delay("main")
    impatient = tutorial.push.apply_async(("next",), max_wait=0.2)
    with pytest.raises(WaitTimeout):
        impatient.get(timeout=10)

    unwanted = tutorial.push.apply_async(("other",), countdown=3600)
    assert tutorial.turgor.cancel(unwanted.id) is Cancelled.CANCELLED
    tutorial.host_answers.set()
    assert tutorial.push.delay("last").get(timeout=10) == "pushed last"
    assert tutorial.order == ["main", "last"]


def test_step_8_code_outside_of_tasks_spends_from_the_same_budget(tutorial: Tutorial, server_url: str) -> None:
    for n in range(7):
        tutorial.complete.delay(n).get(timeout=10)
    with tutorial.turgor.limiter.acquire(service="llm_api"):
        pass  # the call goes here
    (usage,) = tutorial.turgor.usage("service:llm_api")
    assert usage.remaining == 2

    limiter = Limiter(server_url, "a budget of its own", requests_per_hour=1)
    limiter.check_and_consume()
    with pytest.raises(RateLimited) as caught:
        limiter.check_and_consume()
    assert caught.value.decision.retry_after > 3000
