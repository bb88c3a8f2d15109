"""What limits promise, judged from outside: by the times at which calls were admitted.

Time is virtual, so hours of traffic pass in seconds, through the same scripts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from limit_calls import MINUTE_US, START_US, Ask, Calls, bucket, in_flight, most_in_any_window, new_scope, window
from turgor.limits import Limit, LimitKind
from turgor.limits.account import Account
from turgor.limits.limit import SECOND_US


def admitted(calls: Calls, limit: Limit, asks: list[Ask]) -> list[tuple[int, int]]:
    """Time and units of each ask that passed."""
    replies = calls.acquire_all(Account([(new_scope(), limit)]), asks)
    return [(ask.at_us, ask.requests) for ask, reply in zip(asks, replies, strict=True) if reply[0]]


def traffic(seed: int, number: int, mean_us: int, largest: int) -> Iterator[Ask]:
    """Random arrivals, with storms (all at once) and silences (up to several periods)."""
    rng, at_us = random.Random(seed), START_US + seed * 1_234_567
    while number:
        mood = rng.random()
        for _ in range(min(number, rng.randint(1, 200))):
            number -= 1
            at_us += 0 if mood < 0.3 else round(rng.expovariate(1 / mean_us))
            yield Ask(at_us, requests=rng.randint(1, largest))
        if mood > 0.9:
            at_us += round(rng.random() * 300 * mean_us)


WINDOWS = [
    window(1, SECOND_US),
    window(10, SECOND_US),
    window(60, MINUTE_US),
    window(7, 99_991),
    window(500, 3_600 * SECOND_US),
    window(3, 1_000),
]
NUMBER = 10_000


@pytest.mark.parametrize("limit", WINDOWS, ids=str)
def test_no_window_of_time_ever_admits_more_than_its_limit(calls: Calls, limit: Limit) -> None:
    mean_us = max(1, limit.period_us // limit.capacity // 2)
    asks = list(traffic(limit.capacity, NUMBER, mean_us, largest=max(1, limit.capacity // 5)))

    passed = admitted(calls, limit, asks)

    assert len(passed) > 100
    assert most_in_any_window(passed, limit.period_us) <= limit.capacity


@pytest.mark.slow
def test_no_window_of_time_ever_admits_more_in_a_hundred_thousand_calls(calls: Calls) -> None:
    limit = window(50, 10 * SECOND_US)

    passed = admitted(calls, limit, list(traffic(1, 100_000, 100_000, largest=10)))

    assert len(passed) > 5_000
    assert most_in_any_window(passed, limit.period_us) <= limit.capacity


@pytest.mark.parametrize("limit", WINDOWS, ids=str)
def test_a_saturated_window_is_used_to_98_percent(calls: Calls, limit: Limit) -> None:
    step_us = max(1, limit.period_us // max(500, 5 * limit.capacity))
    asks = [Ask(START_US + number * step_us) for number in range(NUMBER)]

    passed = admitted(calls, limit, asks)

    periods = (asks[-1].at_us - START_US) / limit.period_us
    assert len(passed) >= 0.98 * limit.capacity * periods


@pytest.mark.parametrize("limit", WINDOWS, ids=str)
def test_a_saturated_window_whose_bursts_come_when_it_says_is_used_to_98_percent(calls: Calls, limit: Limit) -> None:
    """Each caller comes back after `retry_after`: the bursts stay bunched for ever, and nothing is lost by it."""
    account, at_us, passed, tried = Account([(new_scope(), limit)]), START_US, 0, 0
    while tried < 600:
        allowed, _, _, retry_after_us, *_ = calls.acquire(account, Ask(at_us))
        tried += 1
        passed += allowed
        at_us += retry_after_us

    periods = (at_us - START_US) / limit.period_us
    assert passed >= 0.98 * limit.capacity * periods


BUCKETS = [
    bucket(10, refill=60),
    bucket(100, refill=100, period_us=SECOND_US),
    bucket(1_000, refill=900_000),  # 66.67 µs a unit
    bucket(50, refill=7_000, period_us=SECOND_US),  # 142.86 µs a unit
    bucket(2, refill=2, period_us=3_600 * SECOND_US),
]


@pytest.mark.parametrize("limit", BUCKETS, ids=str)
def test_no_stretch_of_time_admits_more_than_a_bucket_and_its_refill(calls: Calls, limit: Limit) -> None:
    rate = limit.refill / limit.period_us
    asks = list(traffic(limit.refill, NUMBER, max(1, round(1 / rate)), largest=max(1, limit.capacity // 5)))

    passed = admitted(calls, limit, asks)

    # The fill of a bucket that is never over-full: if this ever leaves [0, capacity], some stretch held too much.
    fill, last_us = float(limit.capacity), START_US
    for at_us, units in passed:
        fill = min(limit.capacity, fill + (at_us - last_us) * rate) - units
        last_us = at_us
        assert fill > -1e-6
    assert len(passed) > NUMBER // 20


@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("limit", BUCKETS, ids=str)
def test_a_saturated_bucket_is_used_to_99_percent(calls: Calls, limit: Limit, units: int) -> None:
    units = min(units, limit.capacity // 2)  # a bucket that has to be full overflows while nobody asks
    step_us = max(1, units * limit.period_us // limit.refill // 7)
    asks = [Ask(START_US + number * step_us, requests=units) for number in range(NUMBER)]

    passed = admitted(calls, limit, asks)

    refilled = (asks[-1].at_us - START_US) * limit.refill / limit.period_us
    assert sum(size for _, size in passed) >= 0.99 * (limit.capacity + refilled) - units


def test_a_bucket_alone_admits_almost_twice_its_rate_and_a_window_beside_it_does_not(calls: Calls) -> None:
    """100 at once and 100 in the second after it: what a bucket of 100 with 100 a second allows."""
    asks = [Ask(START_US)] * 100 + [Ask(START_US + number * 10_000) for number in range(1, 100)]
    burst = bucket(100, refill=100, period_us=SECOND_US)

    alone = calls.acquire_all(Account([(new_scope(), burst)]), asks)
    scope = new_scope()
    beside = calls.acquire_all(Account([(scope, window(100, SECOND_US)), (scope, burst)]), asks)

    assert sum(reply[0] for reply in alone) == 199
    assert sum(reply[0] for reply in beside) == 100


@pytest.mark.parametrize("idle_us", [0, 1, MINUTE_US // 2, MINUTE_US - 1, MINUTE_US, 10 * MINUTE_US])
def test_idle_then_a_burst_admits_the_limit(calls: Calls, idle_us: int) -> None:
    """A weighted counter of two windows looks exact under steady load, and admits 194 of 100 here."""
    limit = window(100)
    burst = [Ask(START_US)] * 150
    second = [Ask(START_US + idle_us)] * 150

    passed = admitted(calls, limit, burst + second)

    assert len(passed) == (200 if idle_us >= MINUTE_US else 100)
    assert most_in_any_window(passed, MINUTE_US) == 100


def test_a_clock_that_steps_back_never_admits_more(calls: Calls) -> None:
    limit, at_us, asks = window(20, SECOND_US), START_US, list[Ask]()
    rng = random.Random(1)
    for _ in range(5_000):
        at_us += rng.choice([10_000, 10_000, 10_000, 10_000, -25_000])
        asks.append(Ask(at_us))

    replies = calls.acquire_all(Account([(new_scope(), limit)]), asks)

    # Real time does not run backwards: the judge's clock is the latest time that was ever seen.
    latest_us, passed = 0, list[tuple[int, int]]()
    for ask, reply in zip(asks, replies, strict=True):
        latest_us = max(latest_us, ask.at_us)
        if reply[0]:
            passed.append((latest_us, 1))
    assert len(passed) > 200
    assert most_in_any_window(passed, SECOND_US) <= 20


def test_no_more_are_in_flight_than_the_cap(calls: Calls) -> None:
    limit, lease_us = in_flight(3), 10 * SECOND_US
    account, rng, at_us = Account([(new_scope(), limit)]), random.Random(1), START_US
    running: dict[str, int] = {}
    most = 0
    for number in range(1_500):
        at_us += rng.randint(0, SECOND_US)
        running = {holder: until_us for holder, until_us in running.items() if until_us > at_us}
        if calls.acquire(account, Ask(at_us, holder=str(number)), lease_us=lease_us)[0]:
            running[str(number)] = at_us + lease_us
        if running and rng.random() < 0.4:
            holder = rng.choice(list(running))
            calls.settle(account, 0, correction="", charged_at_us=at_us, at_us=at_us, holder=holder)
            del running[holder]
        most = max(most, len(running))

    assert most == limit.capacity
    assert limit.kind is LimitKind.IN_FLIGHT
