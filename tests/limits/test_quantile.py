"""The running quantile, by numbers computed by hand; that it finds the quantile of a distribution, and follows a shift."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from statistics import mean

import pytest

from turgor.limits.quantile import MEMORY, QuantileState, RunningQuantile

RUNNING = RunningQuantile()


def learned(values: Iterable[int], running: RunningQuantile = RUNNING) -> QuantileState:
    state = QuantileState()
    for value in values:
        state = running.learn(state, value)
    return state


@pytest.mark.parametrize(
    ("values", "estimate"),
    [
        pytest.param([], None, id="nothing is learned"),
        pytest.param([700], 700, id="one value"),
        pytest.param([700, 300], 700, id="of two, the larger"),
        pytest.param([0, 0], 0, id="nothing was spent"),
        pytest.param(range(1, 10), 9, id="of nine, the largest: 0.9 * 10 = 9"),
        pytest.param(range(1, 19), 18, id="of eighteen, the largest: 0.9 * 19 = 17.1"),
        pytest.param(range(19, 0, -1), 18, id="of nineteen, the second largest: 0.9 * 20 = 18"),
        pytest.param(range(1, 51), 46, id="of fifty, the 46th: 0.9 * 51 = 45.9"),
        pytest.param(range(1, 151), 146, id="of the last fifty, 101 to 150, the 46th"),
    ],
)
def test_the_estimate_is_the_value_that_nine_in_ten_do_not_exceed(values: Iterable[int], estimate: int | None) -> None:
    assert RUNNING.estimate(learned(values)) == estimate


@pytest.mark.parametrize(("quantile", "estimate"), [(0.01, 1), (0.1, 1), (0.5, 5), (0.7, 7), (0.71, 8), (0.99, 9), (1.0, 9)])
def test_any_quantile_may_be_asked_for(quantile: float, estimate: int) -> None:
    assert RunningQuantile(quantile).estimate(learned(range(1, 10))) == estimate


def test_the_count_goes_on_when_values_are_forgotten() -> None:
    state = learned(range(60))

    assert state.values == tuple(range(10, 60))
    assert state.count == 60


def test_a_correction_takes_the_place_of_the_newest_value_that_equals_the_old() -> None:
    state = RUNNING.learn(learned([5, 7, 5, 9]), 6, instead_of=5)

    assert state == QuantileState((5, 7, 6, 9), 4)


def test_the_correction_of_what_is_forgotten_changes_nothing() -> None:
    state = learned([5, 7])

    assert RUNNING.learn(state, 6, instead_of=4) == state


Draw = Callable[[random.Random], float]
DISTRIBUTIONS: dict[str, tuple[Draw, float]] = {
    "uniform": (lambda rng: rng.uniform(0, 1_000), 900),
    "exponential": (lambda rng: rng.expovariate(1 / 500), 500 * math.log(10)),
    "lognormal": (lambda rng: rng.lognormvariate(math.log(800), 0.6), math.exp(math.log(800) + 0.6 * 1.2816)),
    "two kinds of calls": (lambda rng: rng.uniform(50, 100) if rng.random() < 0.5 else rng.uniform(4_000, 5_000), 4_800),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_estimate_comes_near_the_quantile_of_a_distribution_and_stays_there(name: str) -> None:
    draw, true = DISTRIBUTIONS[name]
    estimates: list[int] = []
    for seed in range(200):
        rng = random.Random(seed)
        estimate = RUNNING.estimate(learned(round(draw(rng)) for _ in range(3 * MEMORY)))
        estimates.append(estimate or 0)

    assert mean(estimates) == pytest.approx(true, rel=0.05)
    assert mean(abs(estimate - true) for estimate in estimates) < 0.15 * true


def test_the_estimate_covers_about_nine_in_ten_of_the_values_that_follow() -> None:
    rng, covered, state = random.Random(1), 0, QuantileState()
    for number in range(2_000 + MEMORY):
        value = round(rng.lognormvariate(math.log(800), 0.6))
        covered += number >= MEMORY and value <= (RUNNING.estimate(state) or 0)
        state = RUNNING.learn(state, value)

    assert 0.88 < covered / 2_000 < 0.92


@pytest.mark.parametrize(
    ("before", "after", "values"),
    [
        pytest.param(100, 900, 5, id="upwards, as soon as the new ones are a tenth"),
        pytest.param(900, 100, 46, id="downwards, once the old ones are less than a tenth"),
    ],
)
def test_the_estimate_follows_a_shift(before: int, after: int, values: int) -> None:
    state = learned([before] * 1_000)
    taken = 0
    while RUNNING.estimate(state) != after:
        state = RUNNING.learn(state, after)
        taken += 1

    assert taken == values


def test_a_single_outlier_does_not_move_it() -> None:
    assert RUNNING.estimate(learned([*[100] * 40, 1_000_000, *[100] * 5])) == 100
