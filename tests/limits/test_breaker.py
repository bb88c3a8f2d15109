"""The breaker's numbers, computed by hand: half of at least 4 calls in 10 s opens it; 8 s, 16 s, 20 s of cool-down; 2 probes."""

from __future__ import annotations

import pickle

import pytest

from turgor.limits.breaker import TRANSITIONS, Breaker, BreakerState, Cell, Circuit, IllegalTransition
from turgor.limits.limit import SECOND_US
from turgor.limits.outcome import Outcome

BREAKER = Breaker(
    failure_ratio=0.5,
    minimum_calls=4,
    window_us=10 * SECOND_US,
    cool_down_us=8 * SECOND_US,
    max_cool_down_us=20 * SECOND_US,
    probes=2,
    ramp_us=10 * SECOND_US,
)
LETTERS = {"o": Outcome.OK, "f": Outcome.FAILED, "t": Outcome.THROTTLED, "-": Outcome.OPEN}
BASE_US = 1_800_000_000 * SECOND_US


def at(seconds: float) -> int:
    return BASE_US + round(seconds * SECOND_US)


def after(outcomes: str, at_s: float = 0, state: BreakerState | None = None, *, every_s: float = 0) -> BreakerState:
    """The state after calls that ended so, one each `every_s`."""
    state = state or BreakerState()
    for number, letter in enumerate(outcomes):
        state = BREAKER.report(state, LETTERS[letter], "h", at(at_s + number * every_s))
    return state


def opened(at_s: float = 0, trips: int = 1, cool_down_s: float = 8) -> BreakerState:
    return BreakerState(Circuit.OPEN, at(at_s), at(at_s + cool_down_s), trips)


def probed(*outcomes: str, at_s: float = 8, state: BreakerState | None = None) -> BreakerState:
    """The state after one probe each, admitted and ended."""
    state = state or opened()
    for number, letter in enumerate(outcomes):
        state = BREAKER.admit(state, f"p{number}", at(at_s), at(at_s + 60))
        state = BREAKER.report(state, LETTERS[letter], f"p{number}", at(at_s))
    return state


@pytest.mark.parametrize(
    ("outcomes", "circuit", "ratio"),
    [
        ("", Circuit.CLOSED, 0.0),
        ("fff", Circuit.CLOSED, 1.0),
        ("ffff", Circuit.OPEN, 0.0),
        ("ooff", Circuit.OPEN, 0.0),
        ("fooo", Circuit.CLOSED, 0.25),
        ("fffo", Circuit.OPEN, 0.0),
        ("oooof", Circuit.CLOSED, 0.2),
        ("fft" + "t" * 50, Circuit.CLOSED, 1.0),
        ("ff--", Circuit.CLOSED, 1.0),
    ],
)
def test_it_opens_at_half_of_at_least_four_calls_and_throttled_is_none_of_them(
    outcomes: str, circuit: Circuit, ratio: float
) -> None:
    state = after(outcomes)

    assert state.circuit is circuit
    assert BREAKER.failure_ratio_of(state, at(0)) == ratio


@pytest.mark.parametrize(
    ("gap_s", "circuit"), [(2, Circuit.OPEN), (3.2, Circuit.OPEN), (3.4, Circuit.CLOSED), (100, Circuit.CLOSED)]
)
def test_calls_count_until_their_tenth_of_the_window_is_ten_seconds_old(gap_s: float, circuit: Circuit) -> None:
    """At 3.4 s the fourth ends at 10.2 s: the first was counted at 0 s and has left."""
    assert after("ffff", every_s=gap_s).circuit is circuit


def test_calls_of_one_tenth_of_the_window_share_a_counter() -> None:
    assert after("ofo", every_s=0.6).cells == (Cell(at(0), 1, 1), Cell(at(1), 1, 0))


def test_many_calls_leave_at_most_eleven_counters() -> None:
    assert len(after("o" * 500, every_s=0.1).cells) == 10


def test_a_call_that_ends_earlier_than_the_last_is_counted_with_it() -> None:
    assert after("f", at_s=-5, state=after("o")).cells == (Cell(at(0), 1, 1),)


@pytest.mark.parametrize(("at_s", "allow_at_s"), [(0, 8), (7.999999, 8), (8, 8), (100, 100)])
def test_nothing_passes_until_the_cool_down_is_over(at_s: float, allow_at_s: float) -> None:
    assert BREAKER.allow_at(opened(), at(at_s)) == at(allow_at_s)


def test_it_is_half_open_from_the_end_of_the_cool_down_whoever_looks_later() -> None:
    state = BREAKER.current(opened(), at(50))

    assert (state.circuit, state.since_us) == (Circuit.HALF_OPEN, at(8))


def test_half_open_lets_two_probes_through_and_then_none() -> None:
    state = opened()
    for holder in ("a", "b"):
        assert BREAKER.allow_at(state, at(9)) == at(9)
        state = BREAKER.admit(state, holder, at(9), at(69))

    assert BREAKER.allow_at(state, at(9)) == at(10)
    assert BREAKER.allow_at(state, at(69)) == at(69), "probes of which nothing was heard are given up"


@pytest.mark.parametrize(
    ("outcomes", "circuit", "left"),
    [
        ("o", Circuit.HALF_OPEN, 1),
        ("oo", Circuit.CLOSED, 0),
        ("of", Circuit.OPEN, 0),
        ("f", Circuit.OPEN, 0),
        ("t", Circuit.HALF_OPEN, 2),
        ("-", Circuit.HALF_OPEN, 2),
        ("ot-to", Circuit.CLOSED, 0),
    ],
)
def test_probes_decide(outcomes: str, circuit: Circuit, left: int) -> None:
    state = probed(*outcomes)

    assert state.circuit is circuit
    if circuit is Circuit.HALF_OPEN:
        assert BREAKER.probes - state.passed - len(state.probing) == left


def test_only_the_probes_themselves_decide() -> None:
    """A call that was released before the trip and ends after it says nothing about the service now."""
    state = BREAKER.admit(opened(), "probe", at(8), at(68))

    assert BREAKER.report(state, Outcome.FAILED, "late", at(9)) == state
    assert BREAKER.report(opened(), Outcome.FAILED, "late", at(1)) == opened()
    assert BREAKER.report(opened(), Outcome.OK, "late", at(1)) == opened()


@pytest.mark.parametrize(("trips", "cool_down_s"), [(1, 16), (2, 20), (3, 20), (200, 20)])
def test_a_failed_probe_doubles_the_cool_down_up_to_the_longest(trips: int, cool_down_s: float) -> None:
    assert probed("f", state=opened(trips=trips)) == opened(8, trips + 1, cool_down_s)


@pytest.mark.parametrize(("seconds_later", "trips", "cool_down_s"), [(20, 2, 16), (20.000001, 1, 8)])
def test_a_trip_soon_after_it_closed_goes_on_doubling(seconds_later: float, trips: int, cool_down_s: float) -> None:
    closed = probed("o", "o")
    assert closed == BreakerState(Circuit.CLOSED, at(8), trips=1)

    assert after("ffff", 8 + seconds_later, closed) == opened(8 + seconds_later, trips, cool_down_s)


@pytest.mark.parametrize(
    ("seconds_later", "share"), [(0, 0.1), (1, 0.19), (5, 0.55), (9, 0.91), (10, 1.0), (1_000, 1.0), (-3, 0.1)]
)
def test_a_breaker_that_closed_gives_the_limits_back_in_a_ramp(seconds_later: float, share: float) -> None:
    assert BREAKER.share(probed("o", "o"), at(8 + seconds_later)) == pytest.approx(share)


def test_a_breaker_that_never_opened_has_no_ramp() -> None:
    assert BREAKER.share(after("ofoo"), at(0)) == 1.0


def test_a_breaker_that_nobody_asked_for_a_day_is_forgotten() -> None:
    day_s = 86_400

    assert BREAKER.current(opened(), at(8 + day_s)) == BreakerState()
    assert BREAKER.current(opened(), at(7 + day_s)).circuit is Circuit.HALF_OPEN


@pytest.mark.parametrize("before", Circuit)
@pytest.mark.parametrize("to", Circuit)
def test_a_transition_is_in_the_table_or_is_refused_with_both_names(before: Circuit, to: Circuit) -> None:
    legal = {("closed", "open"), ("open", "half_open"), ("half_open", "open"), ("half_open", "closed")}
    assert (to in TRANSITIONS[before]) is ((before, to) in legal)
    if (before, to) in legal:
        assert BreakerState(before).move(to, 1).circuit is to
        return

    with pytest.raises(IllegalTransition, match=f"a breaker that is {before} cannot become {to}") as caught:
        BreakerState(before).move(to, 1)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
