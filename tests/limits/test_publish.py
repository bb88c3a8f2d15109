"""publish.lua: the state before, the call, the reply, the state after."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from limit_calls import START_US, Ask, Calls, bucket, keys_of, new_scope, server_time_us, ttl_ms, window
from turgor.limits import LimitsConfig, LimitsRegistry, LimitsVersion, UnknownVersion, VersionConflict
from turgor.limits.account import Account
from turgor.limits.limit import SECOND_US

ONE = LimitsConfig.load({"services": {"a": {"requests_per_minute": 60, "burst_capacity": 5}}})
TWO = LimitsConfig.load({"services": {"a": {"requests_per_minute": 30}, "b": {"max_in_flight": 2}}})
DAY_MS = 86_400_000


def state(calls: Calls) -> dict[str, Any]:
    """What is stored, without the realm's prefix."""
    found: dict[str, Any] = {}
    for key in keys_of(calls.client):
        name = key.removeprefix(calls.keys.prefix + ":")
        match calls.client.type(key):
            case b"hash" if name == "history":
                found[name] = {version: json.loads(record) for version, record in calls.client.hgetall(key).items()}
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
    applied = registry(calls).apply(ONE, by="ada", note="go", now_us=START_US)

    assert applied == LimitsVersion(1, ONE.digest, "ada", datetime.fromtimestamp(START_US / SECOND_US, UTC), "go")
    assert state(calls) == {
        "bell": [b"1"],  # a dispatcher that sleeps over waiting work is woken
        "config": {b"digest": ONE.digest.encode(), b"json": ONE.to_json().encode()},
        "configs": {b"1": ONE.to_json().encode()},
        "history": {b"1": {"by": "ada", "note": "go", "at_us": str(START_US), "digest": ONE.digest}},
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

    assert set(state(calls)) == {"bell", "config", "configs", "history", "limits:1", "limits:2", "version"}
    assert DAY_MS - 60_000 < ttl_ms(calls.client, calls.keys.limits(1)) <= DAY_MS
    assert ttl_ms(calls.client, calls.keys.limits(2)) == -1
    assert registry(calls).current() == TWO


def test_the_way_back_is_a_new_version(calls: Calls) -> None:
    for config in (ONE, TWO, ONE):
        registry(calls).publish(config)

    assert registry(calls).version() == 3
    assert registry(calls).current() == ONE


def test_what_was_not_read_is_not_overwritten(calls: Calls) -> None:
    """Two operators read version 1. The second to apply is told who was first, and nothing of his is applied."""
    mine, yours = registry(calls), registry(calls)
    mine.apply(ONE)
    mine.apply(TWO, expected_version=1, by="ada", note="new contract", now_us=START_US)
    before = state(calls)

    with pytest.raises(VersionConflict) as conflict:
        yours.apply(LimitsConfig(), expected_version=1)

    assert state(calls) == before
    assert conflict.value.found == mine.history()[0]
    assert str(conflict.value) == (
        "version 1 of the limits was expected, and version 2 by ada at 2027-01-15 08:00:00 UTC: new contract is in force: "
        "read them again, and apply to those"
    )


def test_the_first_limits_may_be_expected_to_be_the_first(calls: Calls) -> None:
    with pytest.raises(VersionConflict, match="version 3 of the limits was expected, and no limits are in force"):
        registry(calls).apply(ONE, expected_version=3)
    assert registry(calls).apply(ONE, expected_version=0).version == 1
    with pytest.raises(VersionConflict):
        registry(calls).apply(TWO, expected_version=0)


def test_a_repeated_apply_is_no_conflict(calls: Calls) -> None:
    """redis-py repeats a command whose reply was lost: what it asks for is in force already."""
    registry(calls).apply(ONE)
    first = registry(calls).apply(TWO, expected_version=1)

    assert registry(calls).apply(TWO, expected_version=1) == first


def test_the_server_says_when_and_the_process_says_who(calls: Calls) -> None:
    applied = registry(calls).apply(ONE)

    assert abs(applied.at.timestamp() - server_time_us(calls.client) / SECOND_US) < 5
    assert "@" in applied.by


def test_every_version_can_be_read_and_put_in_force_again(calls: Calls) -> None:
    for number, config in enumerate((ONE, TWO, LimitsConfig())):
        registry(calls).apply(config, by=f"user {number}", note='ünïcode \u2028 "quoted"')

    history = registry(calls).history()

    assert [(each.version, each.by, each.digest) for each in history] == [
        (3, "user 2", LimitsConfig().digest),
        (2, "user 1", TWO.digest),
        (1, "user 0", ONE.digest),
    ]
    assert history[0].note == 'ünïcode \\u2028 "quoted"'
    assert registry(calls).history(1) == history[:1]
    assert registry(calls).at(2) == TWO
    assert registry(calls).apply(registry(calls).at(1)).version == 4
    assert registry(calls).current() == ONE


def test_a_hundred_versions_are_kept(calls: Calls) -> None:
    for number in range(1, 106):
        registry(calls).apply({"global": {"requests_per_minute": number}})

    assert [each.version for each in registry(calls).history(500)] == list(range(105, 5, -1))
    assert calls.client.hlen(calls.keys("history")) == calls.client.hlen(calls.keys("configs")) == 100
    assert registry(calls).at(6).global_.requests_per_minute == 6
    with pytest.raises(UnknownVersion, match="version 5 of the limits is not here: the last one is 105, and 100 are kept"):
        registry(calls).at(5)


def test_a_realm_without_limits_has_no_history(calls: Calls) -> None:
    assert registry(calls).history() == ()
    with pytest.raises(UnknownVersion, match="no limits were ever applied"):
        registry(calls).at(1)


def test_a_note_has_a_bound(calls: Calls) -> None:
    with pytest.raises(ValueError, match="note: 1001 characters are too many; use at most 1000"):
        registry(calls).apply(ONE, note="x" * 1001)


def test_an_amendment_is_made_to_what_is_in_force_by_then(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else applies between the reading and the writing: both changes are in force."""
    reader = registry(calls)
    reader.apply(ONE)
    read, others = reader.version, [1]

    def version() -> int:
        found = read()
        if others:
            others.pop()
            registry(calls).amend("global", {"max_in_flight": 9})
        return found

    monkeypatch.setattr(reader, "version", version)

    assert reader.amend("service:a", {"requests_per_minute": 7, "burst_capacity": None}).version == 3
    assert registry(calls).at(3).to_dict() == {"global": {"max_in_flight": 9}, "services": {"a": {"requests_per_minute": 7}}}
    with pytest.raises(VersionConflict):
        reader.amend("service:a", {"requests_per_minute": 8}, expected_version=2)


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
