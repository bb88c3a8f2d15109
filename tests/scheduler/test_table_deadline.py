"""What bounds the wait of a task, case by case: the first of its `max_wait` and its deadline."""

from __future__ import annotations

import pytest
from redis import Redis

from turgor.scheduler.waiting_task import Submitted

from .realm import Realm
from .table import (
    ONE_A_MINUTE,
    WINDOW,
    Case,
    attend,
    claim,
    dispatch,
    finish,
    pause,
    resume,
    submit,
    table,
    tick,
)

RELEASED, WAITING, DELAYED, EXPIRED = Submitted.RELEASED, Submitted.WAITING, Submitted.DELAYED, Submitted.EXPIRED


@table(
    Case(
        "a deadline that is over is met at once, and spends nothing",
        submit("a", deadline_in_s=0),
        EXPIRED,
        ONE_A_MINUTE,
        after={"expired": ["a"], "messages": [], "windows": {}, "broker": {}, "bell": True},
    ),
    Case("one that is not releases as ever", submit("a", deadline_in_s=1), RELEASED, ONE_A_MINUTE, after={"broker": {"q": "a"}}),
    Case(
        "a deadline before the delay is over is met in time",
        lambda realm: realm.dispatch().expired,
        1,
        ONE_A_MINUTE,
        [submit("a", due_in_s=60, deadline_in_s=5), tick(5)],
        {"expired": ["a"], "delayed": []},
    ),
    Case(
        "the deadline holds where it comes before the end of max_wait",
        lambda realm: realm.dispatch().expired,
        1,
        ONE_A_MINUTE,
        [submit("a"), submit("b", max_wait_s=30, deadline_in_s=5), tick(5)],
        {"expired": ["b"], "windows": {WINDOW: (0, 1)}},
    ),
    Case(
        "and max_wait where that ends before the deadline",
        lambda realm: realm.dispatch().expired,
        1,
        ONE_A_MINUTE,
        [submit("a"), submit("b", max_wait_s=5, deadline_in_s=30), tick(5)],
        {"expired": ["b"]},
    ),
    Case(
        "neither before its time",
        lambda realm: realm.dispatch().expired,
        0,
        ONE_A_MINUTE,
        [submit("a"), submit("b", max_wait_s=5, deadline_in_s=6), tick(4.999)],
        {"lanes": {"api": "b"}},
    ),
)
def test_deadlines(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


def test_a_worker_that_comes_back_is_given_nothing_that_has_waited_too_long(redis_client: Redis) -> None:
    realm = Realm(redis_client, ONE_A_MINUTE)
    for step in (attend(q=1), submit("a"), claim("a"), finish("a"), pause("global"), submit("b", deadline_in_s=30)):
        step(realm)
    tick(100)(realm)
    resume("global")(realm)
    attend(q=1)(realm)
    assert realm.state().queues.get("q") is None or realm.released() == ["a"]
    dispatch()(realm)
    assert realm.state().expired == {"b"}


@pytest.mark.parametrize("bound", [{"max_wait_s": 1.0}, {"deadline_in_s": 1.0}])
def test_the_limit_that_held_an_expired_task_is_kept_for_its_caller(bound: dict[str, float], redis_client: Redis) -> None:
    realm = Realm(redis_client, ONE_A_MINUTE)
    submit("a")(realm)
    submit("b", **bound)(realm)
    tick(1)(realm)
    dispatch()(realm)
    (expired,) = realm.scheduler.expired()
    assert (expired.task, expired.held_by) == ("b", "service:api requests/1m")
