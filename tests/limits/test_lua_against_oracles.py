"""The scripts decide as the pure classes do, step by step, whatever the clock does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limit_calls import START_US, Ask, Calls, bucket, in_flight, new_scope, window
from turgor.limits import Decision, Limit, Unit
from turgor.limits.account import Account
from turgor.limits.limit import SECOND_US
from turgor.limits.sliding_window import SlidingWindow, WindowState
from turgor.limits.token_bucket import BucketState, TokenBucket

S = TypeVar("S")
Step = tuple[str, int, int]


def examples(number: int) -> settings:
    # The server is shared by all examples of a test: each has scopes of its own.
    return settings(max_examples=number, suppress_health_check=[HealthCheck.function_scoped_fixture])


PERIODS_US = st.sampled_from([1_000, 99_999, 1_000_003, 10 * SECOND_US, 60 * SECOND_US, 3_600 * SECOND_US])


@st.composite
def elapsed_us(draw: st.DrawFn, period_us: int) -> int:
    """Mostly a little of the period, sometimes all of it or more, and now and then back."""
    part = draw(st.sampled_from([0, 0, 1, 7, 50, 99, 100, 101, 1_000, -1, -30, -250]))
    return part * period_us // 100 + draw(st.integers(-3, 3))


@st.composite
def asks(draw: st.DrawFn, period_us: int, capacity: int, *, most: int = 120) -> list[Ask]:
    at_us, found = START_US, list[Ask]()
    for _ in range(draw(st.integers(1, most))):
        at_us += draw(elapsed_us(period_us))
        found.append(Ask(at_us, requests=draw(st.integers(1, capacity + 1)), holder=str(len(found))))
    return found


@st.composite
def bucket_runs(draw: st.DrawFn) -> tuple[Limit, list[Ask]]:
    capacity, refill, period_us = draw(st.integers(1, 50)), draw(st.integers(1, 2_000)), draw(PERIODS_US)
    return bucket(capacity, refill, period_us), draw(asks(max(1, period_us * capacity // refill), capacity))


@st.composite
def window_runs(draw: st.DrawFn) -> tuple[Limit, list[Ask]]:
    capacity, period_us = draw(st.integers(1, 50)), draw(PERIODS_US)
    return window(capacity, period_us), draw(asks(period_us, max(1, capacity // draw(st.integers(1, 10)))))


def bare(decision: Decision) -> Decision:
    return replace(decision, scope="", limit="")


@examples(150)
@given(run=bucket_runs())
def test_a_bucket_decides_as_the_pure_one(calls: Calls, run: tuple[Limit, list[Ask]]) -> None:
    limit, steps = run
    scope, pure, state = new_scope(), TokenBucket(limit.capacity, limit.period_us, limit.refill), BucketState()

    decisions = calls.decide_all(Account([(scope, limit)]), steps)

    for step, decision in zip(steps, decisions, strict=True):
        expected, state = pure.decide(state, step.requests, step.at_us)
        assert bare(decision) == expected, step
    assert calls.state(scope, limit) == state


@examples(150)
@given(run=window_runs())
def test_a_window_decides_as_the_pure_one(calls: Calls, run: tuple[Limit, list[Ask]]) -> None:
    limit, steps = run
    scope, pure, state = new_scope(), SlidingWindow(limit.capacity, limit.period_us), WindowState()

    decisions = calls.decide_all(Account([(scope, limit)]), steps)

    for step, decision in zip(steps, decisions, strict=True):
        expected, state = pure.decide(state, step.requests, step.at_us)
        assert bare(decision) == expected, step
    assert calls.state(scope, limit) == state


@dataclass
class Levels:
    """acquire.lua in Python: a window, a bucket and slots, of which all are charged or none."""

    window: Limit
    bucket: Limit
    slots: Limit
    lease_us: int
    counted: WindowState = field(default_factory=WindowState)
    filled: BucketState = field(default_factory=BucketState)
    taken: dict[str, int] = field(default_factory=dict[str, int])

    def acquire(self, ask: Ask) -> tuple[bool, str, float]:
        """Whether it is allowed, and otherwise the limit that opens last, and when."""
        self.taken = {holder: until_us for holder, until_us in self.taken.items() if until_us > ask.at_us}
        by_window, counted = SlidingWindow(self.window.capacity, self.window.period_us).decide(
            self.counted, ask.requests, ask.at_us
        )
        pure_bucket = TokenBucket(self.bucket.capacity, self.bucket.period_us, self.bucket.refill)
        by_bucket, filled = pure_bucket.decide(self.filled, ask.requests, ask.at_us)
        slot_after = 0.0
        if len(self.taken) >= self.slots.capacity:
            slot_after = (sorted(self.taken.values())[len(self.taken) - self.slots.capacity] - ask.at_us) / SECOND_US
        waits = [
            (by_window.retry_after, self.window.id),
            (by_bucket.retry_after, self.bucket.id),
            (slot_after, self.slots.id),
        ]
        latest, binding = max(waits, key=lambda wait: wait[0])
        if latest:
            return False, binding, latest
        self.counted, self.filled = counted, filled
        self.taken[ask.holder] = ask.at_us + self.lease_us
        return True, "", 0.0


@st.composite
def level_runs(draw: st.DrawFn) -> tuple[Levels, list[Ask]]:
    capacity, period_us = draw(st.integers(2, 40)), draw(PERIODS_US)
    burst = draw(st.integers(1, capacity))
    levels = Levels(
        window=window(capacity, period_us),
        bucket=bucket(burst, refill=capacity, period_us=period_us),
        slots=in_flight(draw(st.integers(1, 5))),
        lease_us=max(1, period_us // draw(st.integers(1, 30))),
    )
    return levels, [ask for ask in draw(asks(period_us // 5, burst)) if ask.requests <= burst]


@examples(150)
@given(run=level_runs())
def test_all_levels_are_charged_or_none(calls: Calls, run: tuple[Levels, list[Ask]]) -> None:
    levels, steps = run
    limits = [(new_scope(), limit) for limit in (levels.window, levels.bucket, levels.slots)]
    account = Account(limits)

    decisions = [account.decision(reply) for reply in calls.acquire_all(account, steps, lease_us=levels.lease_us)]

    for step, decision in zip(steps, decisions, strict=True):
        allowed, binding, retry_after = levels.acquire(step)
        assert (decision.allowed, decision.retry_after) == (allowed, retry_after), step
        assert allowed or decision.limit == binding, step
    if steps:
        taken = {holder: until for holder, until in levels.taken.items() if until > steps[-1].at_us}
        found = [calls.state(scope, limit) for scope, limit in limits]
        assert found == [levels.counted, levels.filled, taken]


@st.composite
def settlements(draw: st.DrawFn) -> list[Step]:
    """`("acquire", elapsed, tokens)` and `("settle", elapsed, actual)`."""
    verbs = st.sampled_from(["acquire", "acquire", "settle"])
    return [
        (draw(verbs), draw(elapsed_us(10 * SECOND_US)) // 4, draw(st.integers(0, 120))) for _ in range(draw(st.integers(1, 40)))
    ]


class Pure(Protocol[S]):
    def decide(self, state: S, units: int, now_us: int) -> tuple[Decision, S]: ...

    def refund(self, state: S, units: int, now_us: int, charged_at_us: int) -> S: ...


@dataclass
class Oracle(Generic[S]):
    """`roomy` charges what a settlement charges: whether it fits or not."""

    pure: Pure[S]
    roomy: Pure[S]
    unused: S


def check_settlements(calls: Calls, limit: Limit, steps: list[Step], oracle: Oracle[S]) -> None:
    """Run the steps on both sides."""
    pure, state = oracle.pure, oracle.unused
    scope, at_us, charges = new_scope(), START_US, list[tuple[int, int]]()
    account = Account([(scope, limit)])
    for number, (verb, elapsed, tokens) in enumerate(steps):
        at_us += elapsed
        if verb == "acquire" and tokens:
            expected, state = pure.decide(state, tokens, at_us)
            reply = calls.acquire(account, Ask(at_us, tokens=tokens))
            assert bare(account.decision(reply)) == expected
            if expected.allowed:
                charges.append((tokens, reply[5]))
        elif verb == "settle" and charges:
            counted, charged_at_us = charges.pop(0)
            calls.settle(account, tokens - counted, charged_at_us=charged_at_us, at_us=at_us, correction=f"{scope}:{number}")
            if tokens < counted:
                state = pure.refund(state, counted - tokens, at_us, charged_at_us)
            else:
                _, state = oracle.roomy.decide(state, tokens - counted, at_us) if tokens > counted else (None, state)
            assert calls.state(scope, limit) == state


@examples(100)
@given(steps=settlements())
def test_a_settlement_corrects_a_window_as_the_pure_one(calls: Calls, steps: list[Step]) -> None:
    limit = window(300, 10 * SECOND_US, Unit.TOKENS)
    pure, roomy = SlidingWindow(300, 10 * SECOND_US), SlidingWindow(10**6, 10 * SECOND_US)

    check_settlements(calls, limit, steps, Oracle(pure, roomy, WindowState()))


@examples(100)
@given(steps=settlements())
def test_a_settlement_corrects_a_bucket_as_the_pure_one(calls: Calls, steps: list[Step]) -> None:
    limit = bucket(300, 300, 10 * SECOND_US, Unit.TOKENS)
    pure, roomy = TokenBucket(300, 10 * SECOND_US, 300), TokenBucket(10**6, 10 * SECOND_US, 300)

    check_settlements(calls, limit, steps, Oracle(pure, roomy, BucketState()))
