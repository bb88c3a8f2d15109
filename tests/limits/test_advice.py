"""Advice is given on limits that can never bind, and only where that is sure."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turgor.limits import LimitsConfig
from turgor.limits.advice import advice
from turgor.limits.limit import SECOND_US, format_duration
from turgor.limits.sliding_window import SlidingWindow, WindowState
from turgor.limits.token_bucket import BucketState, TokenBucket


def advised(text: str) -> list[str]:
    return advice(LimitsConfig.load(tomllib.loads(text)))


@pytest.mark.parametrize(
    ("text", "useless", "tighter"),
    [
        (
            "[global]\nrequests_per_second = 1\nrequests_per_minute = 100",
            "global.requests_per_minute: 100 in 1m",
            "requests_per_second = 1 in 1s",
        ),
        (
            "[services.a]\nrequests_per_second = 10\nrequests_per_minute = 5",
            "services.a.requests_per_second: 10 in 1s",
            "requests_per_minute = 5 in 1m",
        ),
        (
            "[services.a]\nrequests_per_minute = 60\n[services.a.endpoints.chat]\nrequests_per_minute = 90",
            "services.a.endpoints.chat.requests_per_minute: 90 in 1m",
            "services.a.requests_per_minute = 60 in 1m",
        ),
        (
            '[global]\nmax_in_flight = 4\n[loops."*"]\nmax_in_flight = 5',
            'loops."*".max_in_flight: 5',
            "global.max_in_flight = 4",
        ),
        (
            "[loop_types.x]\nrequests_per_minute = 60\nburst_capacity = 60",
            "loop_types.x.burst_capacity: 60",
            "requests_per_minute = 60 in 1m",
        ),
        (
            '[loops.x]\ntoken_limits = { per_hour = 100, windows = [{ limit = 100, per = "10s" }] }',
            "loops.x.token_limits.windows: 100 in 10s",
            "token_limits.per_hour = 100 in 1h",
        ),
    ],
)
def test_a_limit_that_another_one_implies(text: str, useless: str, tighter: str) -> None:
    assert advised(text) == [f"{useless} can never bind, because {tighter} is tighter; remove it or lower it"]


@pytest.mark.parametrize(
    "text",
    [
        "[global]\nrequests_per_second = 2\nrequests_per_minute = 100",
        "[global]\nrequests_per_minute = 60\nrequests_per_hour = 2000\nburst_capacity = 10",
        "[services.a]\nrequests_per_minute = 60\n[services.a.endpoints.chat]\nrequests_per_minute = 40",
        "[services.a]\nrequests_per_minute = 60\n[services.b.endpoints.chat]\nrequests_per_minute = 90",
        "[services.a]\nrequests_per_minute = 60\ntoken_limits = { per_minute = 90 }",
        "[loop_types.x]\nrequests_per_minute = 1\n[loops.y]\nrequests_per_minute = 5",
        "[global]\nmax_in_flight = 5\nrequests_per_minute = 5",
        '[global]\nrequests_per_minute = 100\nwindows = [{ limit = 1, per = "1s", shadow = true }]',
    ],
)
def test_nothing_is_said_of_limits_that_may_bind(text: str) -> None:
    assert advised(text) == []


def test_all_is_said_at_once() -> None:
    text = "[global]\nmax_in_flight = 1\nrequests_per_second = 1\nrequests_per_minute = 100\nrequests_per_hour = 10_000\n[loops.a]\nmax_in_flight = 2"
    assert [line.partition(":")[0] for line in advised(text)] == [
        "global.requests_per_minute",
        "global.requests_per_hour",
        "loops.a.max_in_flight",
    ]


SHORT_US = 10 * SECOND_US


@given(
    tight=st.tuples(st.integers(1, 8), st.integers(1, 5)),
    loose=st.tuples(st.integers(1, 60), st.integers(1, 30)),
    burst=st.integers(1, 8),
    steps=st.lists(st.tuples(st.sampled_from([0, 0, 1, 9, 10, 11, 99, 101]), st.integers(1, 3)), max_size=120),
)
def test_what_can_never_bind_never_refuses(
    tight: tuple[int, int], loose: tuple[int, int], burst: int, steps: list[tuple[int, int]]
) -> None:
    """Whatever the tight window admits, in any order and at any time, the useless limit would admit as well."""
    (count, parts), (other_count, other_parts) = tight, loose
    windows = [{"limit": count, "per": parts * 10}, {"limit": other_count, "per": other_parts * 10}]
    if parts == other_parts or burst > min(count, other_count):
        return
    lines = advice(LimitsConfig.load({"global": {"windows": windows, "burst_capacity": burst}}))
    pure = SlidingWindow(count, parts * SHORT_US)
    other, state, other_state = SlidingWindow(other_count, other_parts * SHORT_US), WindowState(), WindowState()
    pace, per = min((parts, count), (other_parts, other_count)), min(parts, other_parts)
    bucket, full = TokenBucket(burst, per * SHORT_US, pace[1]), BucketState()
    by_first = f"because windows = {count} in {format_duration(parts * 10 * SECOND_US)} "
    says_window = any(f"global.windows: {other_count} in" in line and by_first in line for line in lines)
    says_burst = any("burst_capacity" in line and by_first in line for line in lines)
    now_us = 0
    for elapsed, units in steps:
        now_us += elapsed * SHORT_US * parts // 100
        decision, state = pure.decide(state, units, now_us)
        if decision.allowed and says_window:
            answer, other_state = other.decide(other_state, units, now_us)
            assert answer.allowed
        if decision.allowed and says_burst:
            answer, full = bucket.decide(full, units, now_us)
            # Each charge of a bucket is rounded up to a microsecond, so the last of a burst may be late by so many.
            assert answer.retry_after * SECOND_US <= burst
