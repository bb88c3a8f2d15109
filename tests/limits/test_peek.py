"""peek.lua says what acquire.lua would say, and changes nothing that decides."""

from __future__ import annotations

from limit_calls import START_US, Ask, Calls, bucket, in_flight, window
from turgor.limits import Unit
from turgor.limits.account import Account
from turgor.limits.limit import SECOND_US

ACCOUNT = Account([("a", window(10)), ("a", bucket(3, refill=10)), ("a", in_flight(2)), ("a", window(100, unit=Unit.TOKENS))])


def test_each_limit_says_what_is_left_when_the_cost_fits_when_it_is_unused_and_what_is_used(calls: Calls) -> None:
    calls.acquire(ACCOUNT, Ask(START_US, requests=3, tokens=60, holder="me"), lease_us=9 * SECOND_US)

    found = calls.peek(ACCOUNT, START_US + SECOND_US, requests=1, tokens=50)

    assert found == [
        7, 0, 59 * SECOND_US, 3, 0,
        0, 5 * SECOND_US, 17 * SECOND_US, 3, 0,
        1, 0, 0, 1, 0,
        40, 59 * SECOND_US, 59 * SECOND_US, 60, 0,
    ]  # fmt: skip


def test_unused_limits_write_nothing(calls: Calls) -> None:
    assert calls.peek(ACCOUNT, START_US) == [10, 0, 0, 0, 0, 3, 0, 0, 0, 0, 2, 0, 0, 0, 0, 100, 0, 0, 0, 0]
    assert not calls.client.keys()


def test_looking_charges_nothing(calls: Calls) -> None:
    calls.acquire(ACCOUNT, Ask(START_US))
    before = calls.peek(ACCOUNT, START_US)

    assert calls.peek(ACCOUNT, START_US) == before


def test_what_it_forecasts_is_what_is_then_decided(calls: Calls) -> None:
    for step in range(12):
        at_us = START_US + step * SECOND_US
        forecast = ACCOUNT.forecast(calls.peek(ACCOUNT, at_us, tokens=20), 1, 20)

        decision = ACCOUNT.decision(calls.acquire(ACCOUNT, Ask(at_us, tokens=20, holder=str(step)), lease_us=4 * SECOND_US))

        assert (forecast.allowed, forecast.retry_after) == (decision.allowed, decision.retry_after), step
        assert decision.allowed or forecast == decision
