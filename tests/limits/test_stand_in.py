"""The stand-in keeps a share of each limit, as the pure algorithms decide."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from limit_calls import MINUTE_US, START_US, bucket, in_flight, window
from turgor.limits import Decision, Limit, Source, Unit
from turgor.limits.account import Account
from turgor.limits.limit import SECOND_US
from turgor.limits.outage import PROBE_S
from turgor.limits.stand_in import StandIn, share_of, stand_in_of

LOCAL = Source.LOCAL


def charge(
    stand_in: StandIn,
    account: Account,
    *,
    share: float = 0.1,
    requests: int = 1,
    tokens: int = 0,
    holder: str = "h",
    at_s: float = 0,
) -> Decision:
    now_us = START_US + round(at_s * SECOND_US)
    return account.decision(stand_in.charge(account, share, requests, tokens, holder, lease_us=MINUTE_US, now_us=now_us))


@pytest.mark.parametrize(
    ("limit", "share", "kept"),
    [
        (window(600), 0.1, window(60)),
        (window(60), 1.0, window(60)),
        (window(5), 0.1, window(1)),
        (window(19), 0.1, window(1)),
        (bucket(50, 600), 0.1, bucket(5, 600, 10 * MINUTE_US)),
        (bucket(3, 10), 0.5, bucket(1, 10, 2 * MINUTE_US)),
        (in_flight(8), 0.25, in_flight(2)),
        (window(100_000, unit=Unit.TOKENS), 0.3, window(30_000, unit=Unit.TOKENS)),
    ],
    ids=str,
)
def test_a_share_is_that_part_of_a_limit_and_at_least_one(limit: Limit, share: float, kept: Limit) -> None:
    assert share_of(limit, share) == kept


def test_a_window_admits_its_share_and_opens_when_its_units_have_left() -> None:
    stand_in, account = StandIn(), Account([("service:a", window(30))])

    passed = [charge(stand_in, account, at_s=at).allowed for at in (0, 1, 2, 3)]

    assert passed == [True, True, True, False]
    assert charge(stand_in, account, at_s=10) == Decision(False, 0, 50.0, 52.0, "service:a", "requests/1m", 30, LOCAL)
    assert charge(stand_in, account, at_s=60).allowed


def test_a_bucket_refills_at_its_share_of_the_rate() -> None:
    """Ten bursts of 60 a minute: a tenth is one, which comes back in ten seconds."""
    stand_in, account = StandIn(), Account([("service:a", bucket(10, 60))])

    assert [charge(stand_in, account, at_s=at).allowed for at in (0, 9.9, 10)] == [True, False, True]


def test_a_refusal_at_one_level_charges_nothing_at_any_other() -> None:
    stand_in = StandIn()
    wide, narrow = ("global", window(100)), ("loop:noisy", window(10))
    for _ in range(50):
        charge(stand_in, Account([wide, narrow]))

    quiet = [charge(stand_in, Account([wide, ("loop:quiet", window(100))])).allowed for _ in range(10)]

    assert quiet == [True] * 9 + [False]


def test_slots_are_freed_and_lapse() -> None:
    stand_in, account = StandIn(), Account([("service:a", in_flight(20))])

    assert [charge(stand_in, account, holder=holder).allowed for holder in "abc"] == [True, True, False]
    stand_in.free(account, "a")
    assert charge(stand_in, account, holder="d", at_s=1) == Decision(True, 0, 0.0, 0.0, "service:a", "in_flight", 20, LOCAL)
    assert charge(stand_in, account, holder="e", at_s=2).retry_after == 58.0
    assert [charge(stand_in, account, holder=holder, at_s=61).allowed for holder in "fgh"] == [True, True, False]


def test_tokens_are_counted_by_limits_of_tokens_alone() -> None:
    stand_in, account = StandIn(), Account([("service:a", window(20)), ("service:a", window(1_000, unit=Unit.TOKENS))])

    assert [charge(stand_in, account, tokens=tokens).allowed for tokens in (60, 60, 40)] == [True, False, True]
    assert not charge(stand_in, account).allowed


def test_what_never_fits_into_the_share_may_come_back_when_the_server_is_back() -> None:
    stand_in, account = StandIn(), Account([("service:a", window(100))])

    assert charge(stand_in, account, requests=11).retry_after == PROBE_S
    assert charge(stand_in, account, requests=10).allowed


def test_without_limits_everything_passes() -> None:
    assert charge(StandIn(), Account([])) == Decision(True, source=LOCAL)


def test_the_limiters_of_a_process_share_one_stand_in_for_a_realm() -> None:
    one, same, other = (
        stand_in_of("redis://x", "{turgor:a}"),
        stand_in_of("redis://x", "{turgor:a}"),
        stand_in_of("redis://x", "b"),
    )

    assert one is same
    assert one is not other


def test_what_is_remembered_of_callers_has_a_bound() -> None:
    stand_in = StandIn()

    for number in range(10_000):
        charge(stand_in, Account([(f"loop:{number}", bucket(1, 60))]), at_s=number)

    assert len(cast("Any", stand_in)._states) <= 4_096 + 1


def test_threads_take_no_more_than_the_share() -> None:
    stand_in, account, admitted = StandIn(), Account([("service:a", window(1_000))]), list[bool]()

    def work() -> None:
        for _ in range(100):
            admitted.append(charge(stand_in, account).allowed)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(admitted), sum(admitted)) == (800, 100)
