"""acquire.lua: the state before, the call, the reply, the state after.

Ten requests a minute, bursts of three (one comes back in 6 s), two in flight, a hundred tokens a minute.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
from redis import Redis

from limit_calls import MINUTE_US, START_US, Ask, Calls, bucket, in_flight, keys_of, server_time_us, window
from turgor.limits import Decision, Limit, Unit
from turgor.limits.account import Account
from turgor.limits.limit import SECOND_US
from turgor.limits.sliding_window import Counted, WindowState
from turgor.limits.teller import ACQUIRE
from turgor.limits.token_bucket import BucketState

State = BucketState | WindowState | dict[str, int]

WINDOW, BURST, SLOTS, TOKENS = window(10), bucket(3, refill=10), in_flight(2), window(100, unit=Unit.TOKENS)
INTERVAL_US = 6.0 * SECOND_US
NAME = "scope"


def counted(*pairs: tuple[float, int]) -> WindowState:
    """Units by the seconds since the start."""
    return WindowState(tuple(Counted(at(seconds), units) for seconds, units in pairs))


def owing(seconds: float) -> BucketState:
    return BucketState(at(seconds), INTERVAL_US)


def at(seconds: float) -> int:
    return START_US + round(seconds * SECOND_US)


class Case(NamedTuple):
    rule: str
    limit: Limit
    before: State
    ask: Ask
    decision: Decision
    after: State


NOTHING = WindowState()
NOW = Ask(START_US, holder="me")
CASES = [
    Case("an unused window", WINDOW, NOTHING, NOW, Decision(True, 9, 0.0, 60.0, NAME, "requests/1m", 10), counted((0, 1))),
    Case(
        "a window with room",
        WINDOW,
        counted((-30, 5), (-20, 2)),
        NOW._replace(requests=3),
        Decision(True, 0, 0.0, 60.0, NAME, "requests/1m", 10),
        counted((-30, 5), (-20, 2), (0, 3)),
    ),
    Case(
        "a window without room: five leave in 30 s",
        WINDOW,
        counted((-30, 5), (-20, 2)),
        NOW._replace(requests=4),
        Decision(False, 3, 30.0, 40.0, NAME, "requests/1m", 10),
        counted((-30, 5), (-20, 2)),
    ),
    Case(
        "a window of which a part has left",
        WINDOW,
        counted((-60, 9), (-59, 1)),
        NOW,
        Decision(True, 8, 0.0, 60.0, NAME, "requests/1m", 10),
        counted((-59, 1), (0, 1)),
    ),
    Case(
        "more than a window holds",
        WINDOW,
        counted((-30, 5)),
        NOW._replace(requests=11),
        Decision(False, 5, math.inf, 30.0, NAME, "requests/1m", 10),
        counted((-30, 5)),
    ),
    Case(
        "more than a window holds, of which all has left",
        WINDOW,
        counted((-90, 5)),
        NOW._replace(requests=11),
        Decision(False, 10, math.inf, 0.0, NAME, "requests/1m", 10),
        counted((-90, 5)),
    ),
    Case("a full bucket", BURST, BucketState(), NOW, Decision(True, 2, 0.0, 6.0, NAME, "burst", 3), owing(6)),
    Case("a bucket that owes", BURST, owing(11), NOW, Decision(True, 0, 0.0, 17.0, NAME, "burst", 3), owing(17)),
    Case("an empty bucket", BURST, owing(18), NOW, Decision(False, 0, 6.0, 18.0, NAME, "burst", 3), owing(18)),
    Case("a bucket that was full long ago", BURST, owing(-99), NOW, Decision(True, 2, 0.0, 6.0, NAME, "burst", 3), owing(6)),
    Case(
        "more than a bucket holds",
        BURST,
        owing(6),
        NOW._replace(requests=4),
        Decision(False, 2, math.inf, 6.0, NAME, "burst", 3),
        owing(6),
    ),
    Case("a free slot", SLOTS, {"a": at(5)}, NOW, Decision(True, 0, 0.0, 0.0, NAME, "in_flight", 2), {"a": at(5), "me": at(60)}),
    Case(
        "one slot, whatever the weight",
        SLOTS,
        {},
        NOW._replace(requests=7),
        Decision(True, 1, 0.0, 0.0, NAME, "in_flight", 2),
        {"me": at(60)},
    ),
    Case(
        "no free slot",
        SLOTS,
        {"a": at(5), "b": at(7)},
        NOW,
        Decision(False, 0, 5.0, 0.0, NAME, "in_flight", 2),
        {"a": at(5), "b": at(7)},
    ),
    Case(
        "a slot that has lapsed",
        SLOTS,
        {"a": at(0), "b": at(7)},
        NOW,
        Decision(True, 0, 0.0, 0.0, NAME, "in_flight", 2),
        {"b": at(7), "me": at(60)},
    ),
    Case(
        "no free slot after the cap was lowered: two have to end",
        SLOTS,
        {"a": at(5), "b": at(7), "c": at(9)},
        NOW,
        Decision(False, 0, 7.0, 0.0, NAME, "in_flight", 2),
        {"a": at(5), "b": at(7), "c": at(9)},
    ),
    Case(
        "tokens",
        TOKENS,
        counted((-30, 50)),
        NOW._replace(tokens=50),
        Decision(True, 0, 0.0, 60.0, NAME, "tokens/1m", 100),
        counted((-30, 50), (0, 50)),
    ),
    Case("no tokens", TOKENS, counted((-30, 100)), NOW, Decision(True), counted((-30, 100))),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_one_limit(calls: Calls, case: Case) -> None:
    calls.store(NAME, case.limit, case.before)
    account = Account([(NAME, case.limit)])

    reply = calls.acquire(account, case.ask)

    assert account.decision(reply) == case.decision
    assert reply[5] == START_US
    assert calls.state(NAME, case.limit) == case.after


WIDE, NARROW = ("global", WINDOW), ("service:a", BURST)
ACCOUNT = Account([WIDE, NARROW, ("service:a", SLOTS), ("loop:x", TOKENS)])


def test_every_level_is_charged(calls: Calls) -> None:
    reply = calls.acquire(ACCOUNT, Ask(START_US, requests=2, tokens=30, holder="me"))

    assert ACCOUNT.decision(reply) == Decision(True, 1, 0.0, 12.0, "service:a", "burst", 3)
    assert [calls.state(*level) for level in ACCOUNT.limits] == [
        counted((0, 2)),
        owing(12),
        {"me": at(60)},
        counted((0, 30)),
    ]


@pytest.mark.parametrize(
    ("full", "state"),
    [
        (0, counted((-30, 10))),
        (1, owing(18)),
        (2, {"a": at(5), "b": at(7)}),
        (3, counted((-30, 100))),
    ],
    ids=["window", "bucket", "slots", "tokens"],
)
def test_a_refusal_at_one_level_leaves_every_level_as_it_was(calls: Calls, full: int, state: State) -> None:
    calls.store(*ACCOUNT.limits[full], state)
    before = dump(calls.client)

    reply = calls.acquire(ACCOUNT, Ask(START_US, tokens=30, holder="me"))

    assert reply[:2] == [0, full + 1]
    assert dump(calls.client) == before


def test_the_limit_that_opens_last_is_named(calls: Calls) -> None:
    """Whoever comes back when the first of two opens is refused by the second."""
    calls.store(*WIDE, counted((-10, 10)))
    calls.store(*NARROW, owing(18))

    decision = ACCOUNT.decision(calls.acquire(ACCOUNT, NOW))

    assert (decision.binding, decision.retry_after) == ("global requests/1m", 50.0)


def test_without_limits_everything_passes(calls: Calls) -> None:
    assert calls.acquire(Account([]), NOW) == [1, 0, 0, 0, 0, START_US]


def test_the_server_decides_what_time_it_is(calls: Calls) -> None:
    before_us = server_time_us(calls.client)

    reply = ACQUIRE(calls.client, calls.keys.prefix, "", "h", MINUTE_US, 1, 0, "", *Account([("global", WINDOW)]).rules)

    assert before_us <= int(reply[5]) <= server_time_us(calls.client)


def dump(client: Redis) -> dict[str, object]:
    return {key: client.dump(key) for key in keys_of(client)}
