"""Exponential backoff with full jitter, against numbers worked out by hand."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from turgor.worker.backoff import LONGEST_DELAY_S, Backoff


@pytest.mark.parametrize(
    ("first", "longest", "ceilings"),
    [
        (1.0, None, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]),
        (1.0, 600.0, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]),
        (0.25, 1.0, [0.25, 0.5, 1, 1]),
        (3.0, 3.0, [3, 3, 3]),
    ],
)
def test_the_ceiling_doubles_up_to_the_longest_delay(first: float, longest: float | None, ceilings: list[float]) -> None:
    backoff = Backoff(first, longest)
    assert [backoff.ceiling_s(retry) for retry in range(1, len(ceilings) + 1)] == ceilings


@pytest.mark.parametrize(("chance", "countdown"), [(0.0, 0.0), (0.5, 8.0), (0.75, 12.0)])
def test_the_countdown_is_that_share_of_the_ceiling(chance: float, countdown: float) -> None:
    assert Backoff(1.0, 16.0).countdown_s(9, chance) == countdown


@pytest.mark.parametrize("retry", [61, 1_024, 10_000, 10**30])
@pytest.mark.parametrize("first", [0.001, 1.0, LONGEST_DELAY_S])
def test_no_retry_is_too_late_for_the_calendar(first: float, retry: int) -> None:
    assert Backoff(first).ceiling_s(retry) == LONGEST_DELAY_S
    assert timedelta(seconds=Backoff(first).countdown_s(retry, 0.999)).days <= 366
    assert Backoff(first, LONGEST_DELAY_S).ceiling_s(retry) == LONGEST_DELAY_S


def test_full_jitter_uses_the_whole_range_evenly() -> None:
    """Ten thousand clients that failed at the same moment come back evenly spread over the ceiling."""
    dice, backoff = random.Random(7), Backoff(1.0, 10.0)
    tenths = [0] * 10
    for _ in range(10_000):
        tenths[int(backoff.countdown_s(20, dice.random()))] += 1
    assert all(900 <= count <= 1_100 for count in tenths)
