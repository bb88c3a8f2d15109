"""What limits keep in reserve for high priorities: the pure classes, the scripts, and callers outside tasks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from limit_calls import START_US, Ask, Calls, bucket, new_scope, window
from turgor.limits import AsyncHierarchicalLimiter, Call, ConfigError, HierarchicalLimiter, Limiter, RateToken
from turgor.limits.account import Account
from turgor.limits.limit import SECOND_US, Limit
from turgor.limits.priority_reserve import Reserve
from turgor.limits.sliding_window import SlidingWindow, WindowState
from turgor.limits.token_bucket import BucketState, TokenBucket

LIMITS: dict[str, Any] = {
    "services": {"llm": {"requests_per_minute": 5, "max_in_flight": 5, "reserve": {"share": 0.2, "priority": "HIGH"}}}
}


def test_a_part_is_rounded_up_to_whole_units() -> None:
    reserve = Reserve(share=0.2, priority=7)
    assert [reserve.units_of(capacity) for capacity in (2, 5, 6, 100)] == [1, 1, 2, 20]
    assert Reserve(share=0.07, priority=7).units_of(100) == 7, "and 0.07 is not the 0.07000000000000001 of a double"


def test_a_bucket_leaves_what_is_reserved() -> None:
    """By hand: of 5, one a second, 2 are reserved: 3 pass, the 4th when one of the 3 has come back, and 2 more at once above."""
    pure, state = TokenBucket(capacity=5, period_us=SECOND_US, refill=1), BucketState()
    decision, state = pure.decide(state, 3, START_US, reserved=2)
    assert (decision.allowed, decision.remaining) == (True, 0)
    decision, _ = pure.decide(state, 1, START_US, reserved=2)
    assert (decision.allowed, decision.retry_after) == (False, 1)
    decision, _ = pure.decide(state, 2, START_US)
    assert (decision.allowed, decision.remaining) == (True, 0)


def test_a_window_leaves_what_is_reserved() -> None:
    pure, state = SlidingWindow(capacity=5, period_us=10 * SECOND_US), WindowState()
    decision, state = pure.decide(state, 4, START_US, reserved=1)
    assert (decision.allowed, decision.remaining) == (True, 0)
    decision, _ = pure.decide(state, 1, START_US + SECOND_US, reserved=1)
    assert (decision.allowed, decision.retry_after) == (False, 9)
    assert pure.decide(state, 1, START_US + SECOND_US)[0].allowed


@st.composite
def runs(draw: st.DrawFn) -> tuple[Limit, list[tuple[Ask, int]]]:
    capacity, period_us = draw(st.integers(2, 30)), draw(st.sampled_from([1_000, 1_000_003, 60 * SECOND_US]))
    limit = draw(st.sampled_from([window(capacity, period_us), bucket(capacity, draw(st.integers(1, 90)), period_us)]))
    share = draw(st.sampled_from([0.1, 0.3, 0.5]))
    at_us, asked = START_US, list[tuple[Ask, int]]()
    for number in range(draw(st.integers(1, 60))):
        at_us += draw(st.sampled_from([0, 1, period_us // 50, period_us // 7, period_us]))
        priority = draw(st.sampled_from([0, 5, 7, 9]))
        asked.append((Ask(at_us, requests=draw(st.integers(1, capacity)), holder=str(number)), priority))
    return Reserve(share=share, priority=7).of(limit), asked


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run=runs())
def test_the_scripts_leave_what_the_pure_classes_leave(calls: Calls, run: tuple[Limit, list[tuple[Ask, int]]]) -> None:
    limit, asked = run
    scope, state = new_scope(), WindowState() if limit.refill == 0 else BucketState()
    pure: Any = (
        TokenBucket(limit.capacity, limit.period_us, limit.refill)
        if limit.refill
        else SlidingWindow(limit.capacity, limit.period_us)
    )
    for ask, priority in asked:
        account = Account([(scope, limit.open_to(priority))])
        (decision,) = calls.decide_all(account, [ask])
        expected, state = pure.decide(state, ask.requests, ask.at_us, reserved=limit.reserved if priority < 7 else 0)
        assert (decision.allowed, decision.remaining, decision.retry_after) == (
            expected.allowed,
            expected.remaining,
            expected.retry_after,
        ), ask
    assert calls.state(scope, limit) == state


def test_a_caller_of_a_lower_priority_finds_the_limit_spent_before_the_reserve(redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, LIMITS, realm=realm)
    assert all(limiter.try_acquire(service="llm", now_us=START_US) for _ in range(4))
    assert limiter.try_acquire(service="llm", now_us=START_US) is None
    assert limiter.try_acquire(service="llm", priority=6, now_us=START_US) is None
    assert limiter.try_acquire(service="llm", priority=7, now_us=START_US)
    assert limiter.try_acquire(service="llm", priority=9, now_us=START_US) is None
    usage = limiter.usage("service:llm", now_us=START_US)
    assert [(each.used, each.remaining) for each in usage] == [(5, 0), (5, 0)]
    assert [(each["reserved"], each["reserved_for"]) for each in usage.to_dict()["limits"]] == [(1, 7), (1, 7)]


def test_a_batch_and_asyncio_know_priorities_too(redis_client: Redis, server_url: str, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, LIMITS, realm=realm)
    batch = [*[Call("llm")] * 5, Call("llm", priority=7), Call("llm", priority=7)]
    answers = limiter.acquire_many(batch, now_us=START_US)
    assert [isinstance(answer, RateToken) for answer in answers] == [True] * 4 + [False, True, False]

    async def later(priority: int) -> bool:
        async with AsyncHierarchicalLimiter(server_url, LIMITS, realm=realm) as same:
            return await same.try_acquire(service="llm", priority=priority, now_us=START_US) is not None

    for token in answers:
        if isinstance(token, RateToken):
            token.ok()
    assert not asyncio.run(later(7)), "the window is spent"


@pytest.mark.parametrize("priority", [-1, 10, 7.0, True, "HIGH"])
def test_a_priority_that_cannot_be_is_refused(priority: Any, redis_client: Redis, realm: str) -> None:
    with pytest.raises(ValueError, match="give a whole number from 0 to 9"):
        HierarchicalLimiter(redis_client, LIMITS, realm=realm).acquire(service="llm", priority=priority)


def test_whoever_may_use_the_reserve_does_not_stand_in_the_line_of_who_may_not(redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, LIMITS, realm=realm)
    book = limiter._current_book()  # pyright: ignore[reportPrivateUsage]
    names = ("llm", "", "", "")
    assert book.of_call(names, 5) is not book.of_call(names, 7)
    assert book.of_call(names, 5).line != book.of_call(names, 7).line
    assert book.of_call(names, 0).line == book.of_call(names, 5).line


def test_one_limit_alone_has_no_reserve(redis_client: Redis) -> None:
    options: dict[str, Any] = {"requests_per_minute": 5, "reserve": {"share": 0.2, "priority": 7}}
    with pytest.raises(ConfigError, match="reserve: one limit alone knows no priorities"):
        Limiter(redis_client, "one", **options)
