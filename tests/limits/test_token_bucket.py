"""The pure token bucket, by tables computed by hand: 10 units, one back each second."""

from __future__ import annotations

import math

import pytest

from turgor.limits.limit import SECOND_US
from turgor.limits.token_bucket import BucketState, TokenBucket

BUCKET = TokenBucket(capacity=10, period_us=60 * SECOND_US, refill=60)
NOW_US = 1_000 * SECOND_US


def owing(seconds: float) -> BucketState:
    return BucketState(NOW_US + round(seconds * SECOND_US), 1e6) if seconds else BucketState()


@pytest.mark.parametrize(
    ("owed_s", "units", "remaining", "owed_after_s"),
    [
        (0, 1, 9, 1),
        (0, 10, 0, 10),
        (3.2, 4, 2, 7.2),  # 10 - 7.2 = 2.8
        (9, 1, 0, 10),
        (0.000001, 9, 0, 9.000001),  # 10 - 9.000001 = 0.99…
    ],
)
def test_units_that_are_there_are_charged(owed_s: float, units: int, remaining: int, owed_after_s: float) -> None:
    decision, after = BUCKET.decide(owing(owed_s), units, NOW_US)

    assert (decision.allowed, decision.remaining, decision.retry_after) == (True, remaining, 0.0)
    assert decision.reset_after == pytest.approx(owed_after_s, abs=1e-9)
    assert after == owing(owed_after_s)


@pytest.mark.parametrize(
    ("owed_s", "units", "remaining", "retry_after"),
    [
        (10, 1, 0, 1.0),
        (9.5, 1, 0, 0.5),
        (9.000001, 1, 0, 0.000001),
        (4, 7, 6, 1.0),  # 7 pass when no more than 3 s are owed
        (12, 1, 0, 3.0),  # overdrawn by a settlement
        (0, 11, 10, math.inf),
        (5, 11, 5, math.inf),
    ],
)
def test_a_refusal_charges_nothing_and_says_when_to_come_back(
    owed_s: float, units: int, remaining: int, retry_after: float
) -> None:
    before = owing(owed_s)

    decision, after = BUCKET.decide(before, units, NOW_US)

    assert (decision.allowed, decision.remaining, decision.retry_after) == (False, remaining, retry_after)
    assert decision.reset_after == owed_s
    assert after == before


def test_units_come_back_one_by_one() -> None:
    _, empty = BUCKET.decide(BucketState(), 10, NOW_US)

    assert [BUCKET.remaining(empty, NOW_US + at * SECOND_US // 2) for at in range(6)] == [0, 0, 1, 1, 2, 2]
    assert BUCKET.remaining(empty, NOW_US + 10 * SECOND_US) == 10
    assert BUCKET.remaining(empty, NOW_US + 99 * SECOND_US) == 10


def test_a_charge_is_rounded_once_and_not_once_for_each_unit() -> None:
    """900,000 a minute is a unit in 66.67 µs. Rounded up for each unit, the bucket gave 895,522."""
    tokens = TokenBucket(capacity=2_000, period_us=60 * SECOND_US, refill=900_000)

    _, after = tokens.decide(BucketState(), 900, NOW_US)

    assert after.arrival_us - NOW_US == 60_000


def test_a_fraction_of_a_microsecond_is_rounded_against_the_caller() -> None:
    """A unit comes back in 10/7 µs: after one, 2 µs are owed, which is 1.4 units."""
    odd = TokenBucket(capacity=3, period_us=10, refill=7)

    decision, after = odd.decide(BucketState(), 1, NOW_US)

    assert (decision.remaining, after.arrival_us) == (1, NOW_US + 2)


@pytest.mark.parametrize(
    ("units", "elapsed_s", "owed_after_s"),
    [
        (4, 0, 3),  # 7 owed, 4 back
        (4, 1, 3),  # 6 owed, 3 of the 4 had not come back by themselves
        (4, 4, 3),  # 3 owed, all 4 had
        (9, 0, 0),  # never more than full
        (4, -2, 5),  # the clock ran backwards: 9 owed, 4 back
    ],
)
def test_a_refund_gives_only_what_has_not_come_back_by_itself(units: int, elapsed_s: int, owed_after_s: int) -> None:
    now_us = NOW_US + elapsed_s * SECOND_US

    after = BUCKET.refund(owing(7), units, now_us, NOW_US)

    assert max(0, after.arrival_us - now_us) == owed_after_s * SECOND_US


def test_a_refund_does_not_fill_a_bucket_that_was_full_meanwhile() -> None:
    """10 charged and never spent, 10 seconds pass, 10 more are charged: the first 10 are worth nothing any more."""
    _, first = BUCKET.decide(BucketState(), 10, NOW_US)
    later_us = NOW_US + 10 * SECOND_US
    _, second = BUCKET.decide(first, 10, later_us)

    after = BUCKET.refund(second, 10, later_us, NOW_US)

    assert BUCKET.remaining(after, later_us) == 0


@pytest.mark.parametrize(
    ("refill", "owed_after_s"),
    [(6, 50), (600, 0.5), (60, 5)],
)
def test_a_change_of_rate_keeps_the_units_that_are_owed(refill: int, owed_after_s: float) -> None:
    changed = TokenBucket(capacity=10, period_us=60 * SECOND_US, refill=refill)

    assert changed.remaining(owing(5), NOW_US) == 5
    assert changed.decide(owing(5), 6, NOW_US)[0].reset_after == owed_after_s


def test_a_clock_that_steps_back_delays_and_never_admits() -> None:
    _, empty = BUCKET.decide(BucketState(), 10, NOW_US)

    decision, _ = BUCKET.decide(empty, 1, NOW_US - 5 * SECOND_US)

    assert (decision.allowed, decision.retry_after) == (False, 6.0)
