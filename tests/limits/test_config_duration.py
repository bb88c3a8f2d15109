"""Durations are read as people write them, and read back as Turgor writes them."""

from __future__ import annotations

import doctest
from datetime import timedelta
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turgor.limits import duration, quotation
from turgor.limits.duration import MAX_DURATION_US, MIN_DURATION_US, parse_duration
from turgor.limits.limit import format_duration


@pytest.mark.parametrize(
    ("written", "duration_us"),
    [
        ("500ms", 500_000),
        ("10s", 10_000_000),
        ("5m", 300_000_000),
        ("1h", 3_600_000_000),
        ("1d", 86_400_000_000),
        ("1m30s", 90_000_000),
        ("1d2h3m4s5ms6us", 93_784_005_006),
        ("1.5s", 1_500_000),
        ("0.1h", 360_000_000),
        ("1m0s", 60_000_000),
        ("0060s", 60_000_000),
        ("1ms", 1_000),
        ("1000us", 1_000),
        ("366d", 31_622_400_000_000),
        (1, 1_000_000),
        (0.25, 250_000),
        (0.1 + 0.2, 300_000),
        (0.001, 1_000),
        (31_622_400, 31_622_400_000_000),
        (timedelta(minutes=2), 120_000_000),
    ],
)
def test_a_duration_is_read_in_microseconds(written: object, duration_us: int) -> None:
    assert parse_duration(written) == duration_us


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "10",
        "s",
        "10 s",
        " 10s",
        "10s\n",
        "-1s",
        "+1s",
        "1e3s",
        "30s1m",
        "1m1m",
        "1min",
        "10S",
        "1.s",
        ".5s",
        "٣s",
        "1w",
        "inf",
    ],
)
def test_other_text_is_not_a_duration(written: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration; use one such as '10s' or '1m30s', or a number of seconds$"):
        parse_duration(written)


@pytest.mark.parametrize("written", [None, True, False, [], {}, b"10s"])
def test_other_types_are_not_durations(written: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(written)


@pytest.mark.parametrize(
    "written",
    [
        0,
        -1,
        0.0009,
        "0s",
        "999us",
        "367d",
        31_622_401,
        1e308,
        pytest.param(10**5000, id="huge"),
        float("inf"),
        float("nan"),
        timedelta(0),
        timedelta.max,
    ],
)
def test_a_duration_is_from_one_millisecond_to_366_days(written: object) -> None:
    with pytest.raises(ValueError, match=r"is not allowed; use a duration from 1ms to 366d$"):
        parse_duration(written)


@given(st.integers(MIN_DURATION_US, MAX_DURATION_US))
def test_what_is_written_is_read_back(duration_us: int) -> None:
    assert parse_duration(format_duration(duration_us)) == duration_us
    assert parse_duration(timedelta(microseconds=duration_us)) == duration_us


@pytest.mark.parametrize("module", [duration, quotation])
def test_the_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed
