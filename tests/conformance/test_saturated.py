"""A limit that is asked for more than it holds gives nearly all of it: 99% of a bucket, 98% of a window, every slot."""

from __future__ import annotations

import random
from bisect import bisect
from itertools import accumulate
from typing import Any

import pytest
from redis import Redis

from limit_calls import MINUTE_US, START_US, Ask, Calls, bucket, new_scope, window
from turgor.limits import Limit, Unit
from turgor.limits.account import Account
from turgor.limits.keys import Keys
from turgor.limits.limit import SECOND_US

from .traffic import Request
from .wire import LEASE_US, SETTLE, Wire

HOUR_US = 3_600 * SECOND_US
BUCKETS = [bucket(10, refill=60), bucket(50, refill=7_000, period_us=SECOND_US), bucket(7, refill=3, period_us=10 * SECOND_US)]
WINDOWS = [window(10, SECOND_US), window(60), window(2_000, HOUR_US), window(50_000, MINUTE_US, Unit.TOKENS), window(7, 99_991)]


@pytest.fixture
def calls(redis_client: Redis, realm: str) -> Calls:
    return Calls(redis_client, Keys(realm))


def admitted(calls: Calls, limit: Limit, asks: list[Ask]) -> list[tuple[int, int]]:
    """Time and units of each ask that passed."""
    replies = calls.acquire_all(Account([(new_scope(), limit)]), asks)
    units = [ask.tokens if limit.unit is Unit.TOKENS else ask.requests for ask in asks]
    return [(ask.at_us, size) for ask, size, reply in zip(asks, units, replies, strict=True) if reply[0]]


def steadily_used(passed: list[tuple[int, int]], capacity: int, period_us: int) -> float:
    """The share of a window that is used after its first period.

    What passes comes in waves, a period apart and a little more, so how many waves a stretch of time holds depends on where
    it begins. This is the mean of a hundred stretches of the same number of periods, each beginning a little later.
    """
    times, totals = [at_us for at_us, _ in passed], [0, *accumulate(units for _, units in passed)]
    periods = (times[-1] - times[0]) // period_us - 2
    assert periods >= 10
    starts = [times[0] + period_us + period_us * number // 100 for number in range(100)]
    units = [totals[bisect(times, start + periods * period_us)] - totals[bisect(times, start)] for start in starts]
    return sum(units) / len(units) / (capacity * periods)


@pytest.mark.parametrize("limit", BUCKETS, ids=str)
@pytest.mark.parametrize("largest", [1, 3])
def test_a_bucket_is_used_to_99_percent(calls: Calls, limit: Limit, largest: int) -> None:
    rng, step_us = random.Random(1), limit.period_us // limit.refill // 3
    asks = [Ask(START_US + number * step_us, requests=rng.randint(1, largest)) for number in range(6_000)]

    passed = admitted(calls, limit, asks)

    refilled = (asks[-1].at_us - START_US) * limit.refill / limit.period_us
    assert sum(units for _, units in passed) >= 0.99 * (refilled + limit.capacity)


@pytest.mark.parametrize("limit", WINDOWS, ids=str)
@pytest.mark.parametrize(("bunch", "moments"), [(1, 500), (4, 200)], ids=["one by one", "in bunches"])
def test_a_window_is_used_to_98_percent(calls: Calls, limit: Limit, bunch: int, moments: int) -> None:
    """Asked at so many moments of each period, for more than it holds."""
    rng, largest = random.Random(1), max(1, limit.capacity // 50)
    asks: list[Ask] = []
    for number in range(16 * moments * bunch):
        size, at_us = rng.randint(1, largest), START_US + number // bunch * limit.period_us // moments
        asks.append(Ask(at_us, tokens=size) if limit.unit is Unit.TOKENS else Ask(at_us, requests=size))

    passed = admitted(calls, limit, asks)

    assert steadily_used(passed, limit.capacity, limit.period_us) >= 0.98


def test_every_slot_is_used(redis_client: Redis, realm: str) -> None:
    """Whether slots come back because work ends or because a lease lapses: somebody has them at once."""
    wire = Wire(redis_client, realm, {"services": {"git": {"max_in_flight": 7}}})
    for step in range(40):
        at_us = START_US + step * LEASE_US  # all leases of the last step have just lapsed
        first = [answer for answer in wire.ask([request(at_us, "git")] * 20) if answer.allowed]
        wire.run(SETTLE, [wire.settle(answer, 0, at_us=at_us) for answer in first[:3]])
        second = [answer for answer in wire.ask([request(at_us, "git")] * 20) if answer.allowed]

        assert (len(first), len(second)) == (7, 3)


def test_the_narrowest_of_five_scopes_is_used_to_98_percent(redis_client: Redis, realm: str) -> None:
    """The service binds, behind a wider realm and before endpoints, loop types and loops of a template."""
    wide: dict[str, Any] = {"requests_per_second": 400, "token_limits": {"per_minute": 100_000}}
    tables: dict[str, Any] = {
        "global": wide,
        "services": {"llm": {"requests_per_second": 50, "endpoints": {"*": {"requests_per_second": 45}}}},
        "loop_types": {"*": {"requests_per_second": 200}},
        "loops": {"*": {"requests_per_second": 20}},
    }
    wire, rng = Wire(redis_client, realm, tables), random.Random(1)
    asked = [
        request(START_US + number * 5_000, "llm", rng.choice(["chat", "embed"]), "planner", f"l{rng.randrange(9)}", tokens=7)
        for number in range(6_000)
    ]

    passed = [(answer.request.at_us, 1) for answer in wire.ask(asked) if answer.allowed]

    assert steadily_used(passed, 50, SECOND_US) >= 0.98


def request(at_us: int, service: str, endpoint: str = "", loop_type: str = "", loop: str = "", *, tokens: int = 0) -> Request:
    return Request(at_us, service, endpoint, loop_type, loop, 1, tokens)
