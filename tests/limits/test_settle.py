"""settle.lua: the state before, the call, the reply, the state after. A hundred tokens a minute, two in flight."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from limit_calls import START_US, Calls, bucket, in_flight, keys_of, ttl_ms, window
from turgor.limits import Limit, Unit
from turgor.limits.account import Account
from turgor.limits.limit import SECOND_US
from turgor.limits.sliding_window import Counted, WindowState
from turgor.limits.token_bucket import BucketState

State = BucketState | WindowState | dict[str, int]

TOKENS, REQUESTS, SLOTS = window(100, unit=Unit.TOKENS), window(10), in_flight(2)
BUCKET = bucket(100, refill=60, unit=Unit.TOKENS)
NAME = "scope"


def at(seconds: float) -> int:
    return START_US + round(seconds * SECOND_US)


def counted(*pairs: tuple[float, int]) -> WindowState:
    return WindowState(tuple(Counted(at(seconds), units) for seconds, units in pairs))


def owing(seconds: float) -> BucketState:
    return BucketState(at(seconds), 1e6)


class Case(NamedTuple):
    """Settled at 0 s. `charged_s` is when the tokens were charged."""

    rule: str
    limit: Limit
    before: State
    difference: int
    charged_s: float
    after: State


CASES = [
    Case("less: back to where it was counted", TOKENS, counted((-30, 80), (-10, 5)), -50, -30, counted((-30, 30), (-10, 5))),
    Case("less, in the newest counter", TOKENS, counted((-30, 80), (-10, 5)), -4, -10, counted((-30, 80), (-10, 1))),
    Case("all of it", TOKENS, counted((-30, 80)), -80, -30, counted((-30, 0))),
    Case("less, and it has left", TOKENS, counted((-60, 80), (-10, 50)), -50, -60, counted((-10, 50))),
    Case("less, and all has left", TOKENS, counted((-90, 80)), -50, -90, WindowState()),
    Case("more: charged now", TOKENS, counted((-30, 80)), 15, -30, counted((-30, 80), (0, 15))),
    Case("more than fits: it is spent", TOKENS, counted((-30, 80)), 500, -30, counted((-30, 80), (0, 500))),
    Case("less, from a bucket", BUCKET, owing(50), -20, 0, owing(30)),
    Case("less, from a bucket, of which a part came back by itself", BUCKET, owing(50), -20, -5, owing(35)),
    Case("less, from a bucket where all came back by itself", BUCKET, owing(50), -20, -30, owing(50)),
    Case("more, from a bucket", BUCKET, owing(50), 20, -5, owing(70)),
    Case("requests are never corrected", REQUESTS, counted((-30, 8)), -5, -30, counted((-30, 8))),
    Case("slots stay", SLOTS, {"me": at(9), "you": at(9)}, -5, -30, {"me": at(9), "you": at(9)}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_tokens_are_corrected(calls: Calls, case: Case) -> None:
    calls.store(NAME, case.limit, case.before)
    account = Account([(NAME, case.limit)])

    assert calls.settle(account, case.difference, charged_at_us=at(case.charged_s), at_us=START_US) == "settled"

    assert calls.state(NAME, case.limit) == case.after


ACCOUNT = Account([(NAME, TOKENS), (NAME, SLOTS)])


def test_a_slot_is_freed_once_and_only_ones_own(calls: Calls) -> None:
    calls.store(NAME, SLOTS, {"me": at(9), "you": at(9)})

    for _ in range(2):
        calls.settle(ACCOUNT, 0, correction="", charged_at_us=START_US, at_us=START_US, holder="me")

        assert calls.state(NAME, SLOTS) == {"you": at(9)}
        assert calls.state(NAME, TOKENS) == WindowState()


def test_the_end_of_a_call_frees_and_corrects_at_once(calls: Calls) -> None:
    calls.store(NAME, SLOTS, {"me": at(9)})
    calls.store(NAME, TOKENS, counted((-30, 80)))

    calls.settle(ACCOUNT, -70, charged_at_us=at(-30), at_us=START_US, holder="me")

    assert calls.state(NAME, SLOTS) == {}
    assert calls.state(NAME, TOKENS) == counted((-30, 10))


def test_a_correction_that_comes_twice_is_made_once(calls: Calls) -> None:
    """redis-py repeats a command whose reply was lost. A refund made twice admits what nobody may spend."""
    calls.store(NAME, TOKENS, counted((-30, 80)))
    calls.store(NAME, SLOTS, {"me": at(9)})

    first = calls.settle(ACCOUNT, -30, charged_at_us=at(-30), at_us=START_US, correction="one")
    again = calls.settle(ACCOUNT, -30, charged_at_us=at(-30), at_us=at(5), correction="one", holder="me")
    other = calls.settle(ACCOUNT, -20, charged_at_us=at(-30), at_us=at(6), correction="two")

    assert [first, again, other] == ["settled", "known", "settled"]
    assert calls.state(NAME, TOKENS) == counted((-30, 30))
    assert calls.state(NAME, SLOTS) == {}, "a repeat still frees the slot"


def test_whatever_a_settlement_writes_expires(calls: Calls) -> None:
    calls.store(NAME, TOKENS, counted((-30, 80)))

    calls.settle(ACCOUNT, -30, charged_at_us=at(-30), at_us=START_US)

    keys = keys_of(calls.client)
    assert len(keys) == 2
    assert all(ttl_ms(calls.client, key) > 0 for key in keys)
