"""publish.lua: the state before, the call, the reply, the state after."""

from __future__ import annotations

import json
from typing import Any

from limit_calls import START_US, Ask, Calls, bucket, keys_of, new_scope, ttl_ms, window
from turgor.limits import LimitsConfig
from turgor.limits.account import Account
from turgor.limits.limit import SECOND_US
from turgor.limits.registry import LimitsRegistry

ONE = LimitsConfig.load({"services": {"a": {"requests_per_minute": 60, "burst_capacity": 5}}})
TWO = LimitsConfig.load({"services": {"a": {"requests_per_minute": 30}, "b": {"max_in_flight": 2}}})
DAY_MS = 86_400_000


def state(calls: Calls) -> dict[str, Any]:
    """What is stored, without the realm's prefix."""
    found: dict[str, Any] = {}
    for key in keys_of(calls.client):
        name = key.removeprefix(calls.keys.prefix + ":")
        match calls.client.type(key):
            case b"string":
                found[name] = calls.client.get(key)
            case b"list":
                found[name] = calls.client.lrange(key, 0, -1)
            case _:
                found[name] = calls.client.hgetall(key)
    return found


def registry(calls: Calls) -> LimitsRegistry:
    return LimitsRegistry(calls.client, calls.keys)


def test_the_first_limits_are_version_one(calls: Calls) -> None:
    assert registry(calls).publish(ONE) == 1

    assert state(calls) == {
        "bell": [b"1"],  # a dispatcher that sleeps over waiting work is woken
        "config": {b"digest": ONE.digest.encode(), b"json": ONE.to_json().encode()},
        "limits:1": {
            b"service:a": json.dumps(
                [["requests/1m", "window", 60, 60_000_000, 0, "requests"], ["burst", "bucket", 5, 60_000_000, 60, "requests"]]
            ).encode()
        },
        "version": b"1",
    }
    assert registry(calls).current() == ONE


def test_what_governs_a_service_is_published_with_its_limits(calls: Calls) -> None:
    registry(calls).publish(LimitsConfig.load({"services": {"a": {"max_in_flight": 2, "breaker": True, "adaptive": True}}}))

    assert state(calls)["limits:1"] == {
        b"service:a": json.dumps([["in_flight", "in_flight", 2, 0, 0, "requests"]]).encode(),
        b"governors:a": json.dumps(
            {
                "breaker": [0.5, 20, 30_000_000, 10_000_000, 300_000_000, 3, 30_000_000],
                "adaptive": [0.1, 0.7, 300_000_000, 5_000_000],
            }
        ).encode(),
    }


def test_the_same_limits_again_change_nothing(calls: Calls) -> None:
    registry(calls).publish(ONE)
    before = state(calls)

    assert registry(calls).publish(ONE) == 1
    assert state(calls) == before
    assert ttl_ms(calls.client, calls.keys.limits(1)) == -1


def test_a_change_keeps_the_old_version_for_a_day(calls: Calls) -> None:
    """What was charged under it is settled under it."""
    registry(calls).publish(ONE)

    assert registry(calls).publish(TWO) == 2

    assert set(state(calls)) == {"bell", "config", "limits:1", "limits:2", "version"}
    assert DAY_MS - 60_000 < ttl_ms(calls.client, calls.keys.limits(1)) <= DAY_MS
    assert ttl_ms(calls.client, calls.keys.limits(2)) == -1
    assert registry(calls).current() == TWO


def test_the_way_back_is_a_new_version(calls: Calls) -> None:
    for config in (ONE, TWO, ONE):
        registry(calls).publish(config)

    assert registry(calls).version() == 3
    assert registry(calls).current() == ONE


def test_no_limits_at_all_can_be_published(calls: Calls) -> None:
    registry(calls).publish(ONE)

    assert registry(calls).publish(LimitsConfig()) == 2

    assert registry(calls).current() == LimitsConfig()
    assert not calls.client.exists(calls.keys.limits(2))


def test_before_the_first_there_is_no_version(calls: Calls) -> None:
    assert registry(calls).version() == 0
    assert registry(calls).current() is None


def test_ten_thousand_loops_can_have_limits_of_their_own(calls: Calls) -> None:
    """Lua unpacks at most some 8,000 values at once."""
    config = LimitsConfig.load({"loops": {f"tenant-{number}": {"requests_per_minute": 1} for number in range(10_000)}})

    registry(calls).publish(config)

    assert calls.client.hlen(calls.keys.limits(1)) == 10_000


def test_a_change_neither_fills_nor_empties_a_bucket(calls: Calls) -> None:
    """A bucket that was changed from 60 a minute to 6 came back with 9 of 10, though it was half spent."""
    scope = new_scope()
    calls.acquire(Account([(scope, bucket(10, refill=60))]), Ask(START_US, requests=5))

    for limit, left in (
        (bucket(10, refill=6), 5),
        (bucket(10, refill=600), 5),
        (bucket(20, refill=60), 15),
        (bucket(4, refill=60), 0),
    ):
        assert calls.peek(Account([(scope, limit)]), START_US)[0] == left

    slower = Account([(scope, bucket(10, refill=6))])
    decision = slower.decision(calls.acquire(slower, Ask(START_US, requests=6)))
    assert (decision.allowed, decision.retry_after) == (False, 10.0)


def test_a_change_neither_fills_nor_empties_a_window(calls: Calls) -> None:
    scope = new_scope()
    calls.acquire(Account([(scope, window(10))]), Ask(START_US, requests=5))

    left = [calls.peek(Account([(scope, window(capacity))]), START_US + SECOND_US)[0] for capacity in (10, 20, 6, 4)]

    assert left == [5, 15, 1, 0]
