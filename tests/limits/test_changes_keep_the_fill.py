"""A change of a limit keeps its fill: whatever was spent stays spent, and nothing else is.

Definitions change at random between calls, kinds come and go, and the time is the test's. The pure classes say what a
limit must hold, and a log of what was admitted says what no window may exceed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limit_calls import MINUTE_US, START_US, Ask, Calls, bucket, in_flight, new_scope, window
from turgor.limits import Limit, Unit
from turgor.limits.account import Account
from turgor.limits.limit import SECOND_US

PERIOD_US = 10 * SECOND_US
COUNTS = st.integers(1, 30)
FASTEST = 200
ELAPSED_US = st.sampled_from([0, 0, 1, 50_000, 300_000, SECOND_US, 3 * SECOND_US, 9_999_999, PERIOD_US, 2 * PERIOD_US])


def examples(number: int) -> settings:
    # The server is shared by all examples of a test: each has scopes of its own.
    return settings(max_examples=number, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass
class Log:
    """What was admitted: (time, units)."""

    entries: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def within(self, period_us: int, now_us: int) -> int:
        return sum(units for at_us, units in self.entries if at_us > now_us - period_us)


@examples(80)
@given(
    unit=st.sampled_from(Unit),
    steps=st.lists(st.tuples(ELAPSED_US, COUNTS, st.integers(1, 8)), min_size=1, max_size=60),
)
def test_a_window_counts_on_whatever_its_limit_becomes(calls: Calls, unit: Unit, steps: list[tuple[int, int, int]]) -> None:
    """Raised, the difference is free at once and no more; lowered below what is counted, nothing is until it has left."""
    scope, now_us, log = new_scope(), START_US, Log()
    for elapsed, capacity, units in steps:
        now_us += elapsed
        account = Account([(scope, window(capacity, PERIOD_US, unit))])
        left = calls.peek(account, now_us)[0]
        counted = log.within(PERIOD_US, now_us)
        # A unit counts for up to 1% longer than the period.
        assert max(0, capacity - log.within(PERIOD_US * 101 // 100, now_us)) <= left <= max(0, capacity - counted)
        ask = Ask(now_us, requests=units) if unit is Unit.REQUESTS else Ask(now_us, tokens=units)
        allowed = calls.acquire(account, ask)[0]
        assert bool(allowed) == (units <= left)
        if allowed:
            log.entries.append((now_us, units))
            assert log.within(PERIOD_US, now_us) <= capacity


@examples(80)
@given(steps=st.lists(st.tuples(ELAPSED_US, COUNTS, st.integers(1, FASTEST), st.integers(1, 8)), min_size=1, max_size=60))
def test_a_bucket_owes_the_same_units_whatever_its_size_and_rate_become(
    calls: Calls, steps: list[tuple[int, int, int, int]]
) -> None:
    """What is owed is a number of units, that falls at the rate in force, and no change adds to it or takes from it."""
    scope, now_us, owed, rate = new_scope(), START_US, 0.0, (1, 1)
    for number, (elapsed, capacity, refill, units) in enumerate(steps, 1):
        now_us += elapsed
        owed = max(0.0, owed - elapsed * rate[0] / rate[1])
        account = Account([(scope, bucket(capacity, refill, MINUTE_US))])
        # Each charge and each conversion may round up by a microsecond, at whatever rate was in force then.
        rounding = number * 2 * FASTEST / MINUTE_US + 1e-6
        left = calls.peek(account, now_us)[0]
        assert math.floor(capacity - owed - rounding) <= left or owed >= capacity
        assert left <= max(0, math.floor(capacity - owed + rounding))
        # From here on the bucket refills at the new rate, which is written down with the next charge only.
        reply = calls.acquire(account, Ask(now_us, requests=units))
        if reply[0]:
            owed, rate = owed + units, (refill, MINUTE_US)


@examples(60)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["take", "take", "free"]), st.integers(1, 6)), min_size=1, max_size=60),
)
def test_slots_stay_taken_whatever_the_cap_becomes(calls: Calls, steps: list[tuple[str, int]]) -> None:
    scope, taken = new_scope(), list[str]()
    for number, (verb, capacity) in enumerate(steps):
        account = Account([(scope, in_flight(capacity))])
        assert calls.peek(account, START_US)[0] == max(0, capacity - len(taken))
        if verb == "free" and taken:
            calls.settle(account, 0, charged_at_us=START_US, at_us=START_US, correction="", holder=taken.pop(0))
        elif calls.acquire(account, Ask(START_US, holder=str(number)))[0]:
            taken.append(str(number))
            assert len(taken) <= capacity
        assert calls.state(scope, in_flight(capacity)) == dict.fromkeys(taken, START_US + MINUTE_US)


KINDS = st.one_of(
    st.builds(window, COUNTS, st.sampled_from([SECOND_US, PERIOD_US, MINUTE_US]), st.sampled_from(Unit)),
    st.builds(bucket, COUNTS, COUNTS, st.sampled_from([SECOND_US, MINUTE_US]), st.just(Unit.REQUESTS)),
    st.builds(in_flight, COUNTS),
)


@examples(80)
@given(
    runs=st.lists(
        st.tuples(st.lists(KINDS, min_size=1, max_size=5, unique_by=lambda limit: limit.id), ELAPSED_US, st.integers(1, 3)),
        min_size=2,
        max_size=30,
    )
)
def test_kinds_come_and_go_and_each_finds_its_own_state(calls: Calls, runs: list[tuple[list[Limit], int, int]]) -> None:
    """No key serves two kinds (WRONGTYPE), and a limit that was away and comes back has not forgotten."""
    scope, now_us, log = new_scope(), START_US, dict[str, Log]()
    for number, (limits, elapsed, units) in enumerate(runs):
        now_us += elapsed
        account = Account([(scope, limit) for limit in limits])
        reply = calls.acquire(account, Ask(now_us, requests=units, tokens=units, holder=str(number)), lease_us=PERIOD_US)
        if not reply[0]:
            continue
        for limit in limits:
            own = log.setdefault(limit.id, Log())
            own.entries.append((now_us, units))
            if limit.period_us and not limit.refill:
                assert own.within(limit.period_us, now_us) <= limit.capacity
