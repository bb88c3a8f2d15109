"""The adaptive share's numbers, computed by hand: halved at most once in 2 s, floor 0.1, back in 100 s of success."""

from __future__ import annotations

import pytest

from turgor.limits.adaptive import AdaptiveShare, AdaptiveState, scaled
from turgor.limits.limit import SECOND_US
from turgor.limits.outcome import Outcome

SHARE = AdaptiveShare(floor=0.1, decrease=0.5, recovery_us=100 * SECOND_US, reaction_us=2 * SECOND_US)
BASE_US = 1_800_000_000 * SECOND_US


def at(seconds: float) -> int:
    return BASE_US + round(seconds * SECOND_US)


def state(factor: float, cut_s: float = 0, seen_s: float | None = None) -> AdaptiveState:
    return AdaptiveState(factor, at(cut_s), at(cut_s if seen_s is None else seen_s))


@pytest.mark.parametrize(
    ("rule", "before", "outcome", "ended_s", "admitted_s", "after"),
    [
        ("success changes nothing at the whole limit", AdaptiveState(), Outcome.OK, 0, 0, AdaptiveState()),
        ("an outcome that says nothing changes nothing", state(0.5), Outcome.OPEN, 9, 9, state(0.5)),
        ("a throttled call halves", AdaptiveState(), Outcome.THROTTLED, 0, -1, state(0.5)),
        ("an error halves too", AdaptiveState(), Outcome.FAILED, 0, -1, state(0.5)),
        ("once in a reaction", state(0.5), Outcome.THROTTLED, 1.999999, 1, state(0.5)),
        ("and again after it", state(0.5), Outcome.THROTTLED, 2, 1, state(0.25, 2)),
        ("not for a call from before the cut", state(0.5), Outcome.THROTTLED, 60, -0.000001, state(0.5)),
        ("down to the floor", state(0.15), Outcome.THROTTLED, 5, 4, state(0.1, 5)),
        ("and no further", state(0.1), Outcome.THROTTLED, 5, 4, state(0.1, 5)),
        ("a second of success is a hundredth of the limit", state(0.5), Outcome.OK, 1, 0, state(0.51, 0, 1)),
        ("idle time is not success: a reaction at most", state(0.5), Outcome.OK, 50, 50, state(0.52, 0, 50)),
        ("two at once are one", state(0.5, 0, 9), Outcome.OK, 9, 0, state(0.5, 0, 9)),
        ("a clock that runs backwards gains nothing", state(0.5, 0, 9), Outcome.OK, 3, 0, state(0.5, 0, 9)),
        ("up to the whole limit", state(0.99), Outcome.OK, 1, 0, AdaptiveState()),
        ("a day without a call, and it is forgotten", state(0.1), Outcome.THROTTLED, 86_400, 86_399, state(0.5, 86_400)),
    ],
)
def test_one_report(  # noqa: PLR0917  a row of the table
    rule: str, before: AdaptiveState, outcome: Outcome, ended_s: float, admitted_s: float, after: AdaptiveState
) -> None:
    assert SHARE.report(before, outcome, at(ended_s), at(admitted_s)) == after, rule


def test_a_batch_of_refusals_of_calls_in_flight_counts_once() -> None:
    """A hundred calls are in flight for 30 s, and then all are refused one second after the other."""
    now = AdaptiveState()
    for number in range(100):
        now = SHARE.report(now, Outcome.THROTTLED, at(number), at(-30))

    assert now == state(0.5)


def test_it_comes_down_from_the_whole_to_a_share_in_the_reactions_that_the_formula_says() -> None:
    """From 1 to 0.25 in log(4) / log(2) = 2 reactions, and then it saws between 0.125 and 0.25."""
    now, factors = AdaptiveState(), list[float]()
    for second in range(400):
        outcome = Outcome.THROTTLED if now.factor > 0.25 else Outcome.OK
        now = SHARE.report(now, outcome, at(second), at(second))
        factors.append(now.factor)

    assert factors[2] == 0.25
    assert 0.124 < min(factors[3:]) < 0.131
    assert max(factors[3:]) < 0.261


@pytest.mark.parametrize(
    ("capacity", "share", "units"), [(100, 1.0, 100), (100, 0.999, 99), (100, 0.5, 50), (3, 0.5, 1), (1, 0.1, 1), (10, 2.0, 10)]
)
def test_a_share_of_a_limit_is_whole_units_at_least_one_and_never_more_than_configured(
    capacity: int, share: float, units: int
) -> None:
    assert scaled(capacity, share) == units
