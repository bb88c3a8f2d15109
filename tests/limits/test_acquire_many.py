"""Many calls in one round trip: each is decided as if it had come alone, in its turn."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from redis import Redis

from limit_calls import MINUTE_US, START_US, Ask, Calls, bucket, in_flight, keys_of, new_scope, scripts_run, window
from turgor.limits import (
    AsyncHierarchicalLimiter,
    AsyncLimiter,
    AsyncRateToken,
    Call,
    CostTooLarge,
    Decision,
    HierarchicalLimiter,
    Limiter,
    LimiterStatistics,
    RateToken,
    ServerUnreachable,
    Unit,
    UnknownService,
)
from turgor.limits.account import Account
from turgor.limits.batch import ACQUIRE_MANY, MOST_CALLS, MOST_CHARGES, Batch, Entry, batches
from turgor.limits.keys import Keys
from turgor.limits.limit import SECOND_US
from turgor.limits.regulator import Regulator
from turgor.limits.token_bucket import BucketState

LIMITS: dict[str, Any] = {
    "global": {"requests_per_minute": 200},
    "services": {
        "llm": {"requests_per_minute": 100, "burst_capacity": 50, "max_in_flight": 30, "token_limits": {"per_hour": 5_000}},
        "git": {},
    },
    "loops": {"*": {"requests_per_minute": 10}},
}


def passed(answers: list[RateToken | Decision]) -> list[bool]:
    return [isinstance(answer, RateToken) for answer in answers]


def decide_all(calls: Calls, entries: list[Entry], at_us: int) -> list[list[int]]:
    """The replies of acquire_many.lua, one by one."""
    replies: list[list[int]] = []
    for batch in batches(entries):
        reply = ACQUIRE_MANY(calls.client, *batch.values(calls.keys.prefix, MINUTE_US, at_us))
        replies += ([int(value) for value in said] for _, said in batch.decisions(reply))
    return replies


def test_the_script_in_a_table(calls: Calls) -> None:
    """Two a minute for all, a bucket of three for `a` alone: state before, calls, replies, state after."""
    shared, own = ("global", window(2)), ("a", bucket(3, refill=60))
    wide, both, free = Account([shared]), Account([shared, own]), Account([])
    calls.store(*own, BucketState(START_US + SECOND_US, float(SECOND_US)))

    replies = decide_all(
        calls,
        [Entry(both, 2, 0, ""), Entry(both, 1, 0, ""), Entry(wide, 1, 0, ""), Entry(free, 9, 0, ""), Entry(both, 3, 0, "")],
        START_US,
    )

    assert replies == [
        [1, 1, 0, 0, MINUTE_US, START_US],  # both are at 0: the first one is named
        [0, 1, 0, MINUTE_US, MINUTE_US, START_US],
        [0, 1, 0, MINUTE_US, MINUTE_US, START_US],
        [1, 0, 0, 0, 0, START_US],
        [0, 1, 0, -1, MINUTE_US, START_US],
    ]
    assert calls.peek(both, START_US)[3::5] == [2, 3]


@pytest.mark.parametrize("seed", range(4))
def test_it_decides_what_one_call_after_the_other_would(calls: Calls, seed: int) -> None:
    rng = random.Random(seed)
    one_by_one, together = (_accounts(new_scope()) for _ in range(2))
    for step in range(12):
        at_us = START_US + step * 5 * SECOND_US
        asks = [(rng.randrange(4), Ask(at_us, rng.randint(1, 3), rng.randint(0, 40), f"{step}-{number}")) for number in range(60)]

        alone = [calls.acquire(one_by_one[each], ask) for each, ask in asks]
        batch = decide_all(calls, [Entry(together[each], ask.requests, ask.tokens, ask.holder) for each, ask in asks], at_us)

        assert batch == alone
        for one, other in zip(one_by_one, together, strict=True):
            assert [calls.state(*limit) for limit in one.limits] == [calls.state(*limit) for limit in other.limits]


def _accounts(name: str) -> list[Account]:
    """Four callers that share limits of every kind."""
    wide = [(name, window(60)), (name, bucket(30, refill=90)), (name, in_flight(25)), (name, window(600, unit=Unit.TOKENS))]
    own = [(f"{name}-{number}", window(20, 10 * SECOND_US)) for number in range(2)]
    return [Account([*wide, own[0]]), Account([*wide, own[1]]), Account(wide), Account(own[:1])]


def test_every_level_has_counted_what_was_admitted_and_nothing_else(redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, LIMITS, realm=realm)
    calls = [Call("llm", loop=f"l{number % 3}", weight=2, tokens=100) for number in range(60)]

    answers = limiter.acquire_many(calls, now_us=START_US)

    # Ten a minute for each of three loops, two a call: the first five calls of each loop.
    assert passed(answers) == [True] * 15 + [False] * 45
    used = {each.limit.id: each.used for each in limiter.usage("service:llm", now_us=START_US)}
    assert used == {"requests/1m": 30, "burst": 30, "in_flight": 15, "tokens/1h": 1_500}
    assert [limiter.usage(scope, now_us=START_US)[0].used for scope in ("global", "loop:l0", "loop:l2")] == [30, 10, 10]
    assert answers[15] == Decision(False, 0, 60.0, 60.0, "loop:l0", "requests/1m", 10)
    assert limiter.statistics() == LimiterStatistics(allowed=15, refused=45, units_allowed=30, tokens_allowed=1_500)


def test_each_token_frees_its_own_slot_and_settles_its_own_tokens(redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, LIMITS, realm=realm)
    answers = limiter.acquire_many([Call("llm", tokens=100)] * 3, now_us=START_US)
    tokens = [answer for answer in answers if isinstance(answer, RateToken)]

    tokens[1].settle(40, now_us=START_US)
    tokens[1].ok(now_us=START_US)
    tokens[2].failed(now_us=START_US)

    used = {each.limit.id: each.used for each in limiter.usage("service:llm", now_us=START_US)}
    assert used == {"requests/1m": 3, "burst": 3, "in_flight": 1, "tokens/1h": 140}
    assert tokens[0].decision == Decision(True, 29, 0.0, 0.0, "service:llm", "in_flight", 30)


def test_a_hundred_calls_are_one_round_trip_and_more_are_few(redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, LIMITS, realm=realm)
    limiter.acquire_many([Call("llm")])
    for number, trips in ((MOST_CALLS, 1), (MOST_CALLS + 1, 2), (0, 0)):
        before = scripts_run(redis_client)
        assert len(limiter.acquire_many([Call("llm")] * number)) == number
        assert scripts_run(redis_client) == before + trips


def test_a_batch_stays_within_what_lua_can_unpack(redis_client: Redis, realm: str) -> None:
    """A hundred loops with 59 limits each are 5,900 limits of seven fields."""
    windows = [{"limit": 1_000, "per": f"{number}s"} for number in range(1, 60)]
    limiter = HierarchicalLimiter(redis_client, {"loops": {"*": {"windows": windows}}}, realm=realm)

    answers = limiter.acquire_many([Call(loop=f"l{number}") for number in range(100)], now_us=START_US)

    assert passed(answers) == [True] * 100
    assert {each.used for number in (0, 99) for each in limiter.usage(f"loop:l{number}", now_us=START_US)} == {1}


def test_a_batch_charges_no_more_limits_than_a_script_does_in_good_time() -> None:
    """A hundred loops with twelve limits each took 15 ms in one script."""
    account = Account([("a", window(5, number)) for number in range(1, 13)])
    numbers = [len(batch.entries) for batch in batches([Entry(account, 1, 0, "")] * 100)]
    assert numbers == [MOST_CHARGES // 12, MOST_CHARGES // 12, 100 - 2 * (MOST_CHARGES // 12)]
    alone = Account([("a", window(5, number)) for number in range(1, 700)])
    assert [len(batch.entries) for batch in batches([Entry(alone, 1, 0, "")] * 3)] == [1, 1, 1]


def test_calls_that_nothing_can_hold_back_pass_without_a_round_trip(redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, {"services": {"git": {}, "llm": {"requests_per_minute": 1}}}, realm=realm)
    limiter.refresh()
    before = scripts_run(redis_client)

    assert passed(limiter.acquire_many([Call(loop="a")] * 3)) == [True] * 3
    assert scripts_run(redis_client) == before
    assert passed(limiter.acquire_many([Call("git"), Call("llm"), Call("llm"), Call("git")])) == [True, True, False, True]


def test_a_scope_that_is_held_back_refuses_its_calls_and_no_others(calls: Calls) -> None:
    limiter = HierarchicalLimiter(calls.client, LIMITS, realm=calls.keys.realm)
    regulator = Regulator(calls.client, calls.keys)
    regulator.close("service:git", 30.0, now_us=START_US)
    regulator.pause("loop:a", now_us=START_US)

    answers = limiter.acquire_many(
        [Call("git"), Call("llm", loop="a"), Call("llm", loop="b"), Call("llm", loop="a")], now_us=START_US
    )

    assert passed(answers) == [False, False, True, False]
    assert [str(answer.binding) for answer in answers if isinstance(answer, Decision)] == [
        "service:git closed",
        "loop:a paused",
        "loop:a paused",
    ]
    assert answers[0] == Decision(False, 0, 30.0, 30.0, "service:git", "closed")
    assert [each.used for each in limiter.usage("service:llm", now_us=START_US)] == [1, 1, 1, 0]


def test_a_scope_that_opens_again_ramps_up_within_a_batch(calls: Calls) -> None:
    """Else a batch would be the stampede that the ramp is there to prevent."""
    limiter = HierarchicalLimiter(calls.client, LIMITS, realm=calls.keys.realm)
    Regulator(calls.client, calls.keys).close("service:git", 1.0, now_us=START_US)
    now_us = START_US + 2 * SECOND_US
    single = HierarchicalLimiter(calls.client, LIMITS, realm=f"{calls.keys.realm}-single")
    Regulator(calls.client, Keys(f"{calls.keys.realm}-single")).close("service:git", 1.0, now_us=START_US)

    many = limiter.acquire_many([Call("git")] * 50, now_us=now_us)
    alone = sum(single.try_acquire(service="git", now_us=now_us) is not None for _ in range(50))

    assert 0 < sum(passed(many)) == alone < 50


def test_a_mistake_in_one_call_charges_none(redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, LIMITS, realm=realm)
    mistakes: list[tuple[Call, type[Exception]]] = [
        (Call("lmm"), UnknownService),
        (Call("llm", weight=101), CostTooLarge),
        (Call("llm", weight=0), ValueError),
        (Call("llm", tokens=-1), ValueError),
    ]
    for mistake, error in mistakes:
        with pytest.raises(error):
            limiter.acquire_many([Call("llm"), mistake])

    assert limiter.usage("service:llm")[0].used == 0


def test_one_scope_takes_many_costs(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "llm", realm=realm, requests_per_minute=5, token_limits={"per_minute": 100})

    answers = limiter.acquire_many([2, (1, 60), (1, 50), 2, 1], now_us=START_US)

    assert passed(answers) == [True, True, False, True, False]
    assert [each.used for each in limiter.usage(now_us=START_US)] == [5, 60]
    assert answers[2] == Decision(False, 40, 60.0, 60.0, "llm", "tokens/1m", 100)
    with pytest.raises(ValueError, match="n: 0 is not allowed"):
        limiter.acquire_many([1, 0])


def test_a_server_that_forgot_the_script_is_told_it_again(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "a", realm=realm, requests_per_minute=5)
    redis_client.script_flush()

    assert passed(limiter.acquire_many([1] * 7)) == [True] * 5 + [False] * 2


def test_every_key_expires(redis_client: Redis, realm: str) -> None:
    Limiter(redis_client, "a", realm=realm, requests_per_minute=5, burst_capacity=3, max_in_flight=2).acquire_many([1] * 3)

    assert [key for key in keys_of(redis_client) if redis_client.pttl(key) < 0] == []
    assert len(keys_of(redis_client)) == 3


def test_nobody_answers_says_where() -> None:
    limiter = Limiter("redis://127.0.0.1:1/0", "github", requests_per_minute=1)

    with pytest.raises(ServerUnreachable, match=r"no Redis at redis://127\.0\.0\.1:1/0"):
        limiter.acquire_many([1])


def test_asyncio_limiters_decide_the_same(server_url: str, redis_client: Redis, realm: str) -> None:
    async def ask() -> tuple[list[bool], list[bool]]:
        levels = AsyncHierarchicalLimiter(server_url, LIMITS, realm=realm)
        one = AsyncLimiter(server_url, "a", realm=realm, requests_per_minute=3)
        many = await levels.acquire_many([Call("git"), *[Call("llm", loop="a")] * 11], now_us=START_US)
        free = await levels.acquire_many([Call("git")], now_us=START_US)
        few = await one.acquire_many([1, (2, 0), 1], now_us=START_US)
        for limiter in (levels, one):
            await limiter.close()
        return [isinstance(each, AsyncRateToken) for each in many + free], [isinstance(each, AsyncRateToken) for each in few]

    assert asyncio.run(ask()) == ([True] * 11 + [False, True], [True, True, False])


def test_a_batch_without_calls_is_none() -> None:
    assert list(batches([])) == []
    assert not Batch().is_asked
