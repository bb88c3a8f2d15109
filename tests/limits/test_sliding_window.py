"""The pure sliding window, by tables computed by hand: 5 units in 100 s, so a cell is one second."""

from __future__ import annotations

import math

import pytest

from turgor.limits.limit import SECOND_US
from turgor.limits.sliding_window import CELLS, Counted, SlidingWindow, WindowState

WINDOW = SlidingWindow(capacity=5, period_us=100 * SECOND_US)


def us(seconds: float) -> int:
    return round(seconds * SECOND_US)


def counted(*pairs: tuple[float, int], held: int = 0) -> WindowState:
    return WindowState(tuple(Counted(us(at), units) for at, units in pairs), held)


@pytest.mark.parametrize(
    ("before", "units_at", "left", "after"),
    [
        (counted(), (1, 1000.25), (4, 100.0), counted((1000.25, 1))),
        (counted(), (5, 1000), (0, 100.0), counted((1000, 5))),
        # the same cell: one counter, dated at the later of the two
        (counted((1000.25, 1)), (2, 1000.75), (2, 100.0), counted((1000.75, 3))),
        # the next cell
        (counted((1000.25, 1)), (2, 1001), (2, 100.0), counted((1000.25, 1), (1001, 2))),
        # exactly 100 s old: gone
        (counted((900, 4), (901, 1)), (1, 1000), (3, 100.0), counted((901, 1), (1000, 1))),
        # the clock ran backwards: counted with the latest
        (counted((1000.25, 1)), (2, 990), (2, 110.25), counted((1000.25, 3))),
    ],
)
def test_units_that_fit_are_charged(
    before: WindowState, units_at: tuple[int, float], left: tuple[int, float], after: WindowState
) -> None:
    """`left` is what remains, and the seconds until the window is unused."""
    units, now_s = units_at

    decision, state = WINDOW.decide(before, units, us(now_s))

    assert (decision.allowed, decision.retry_after) == (True, 0.0)
    assert (decision.remaining, decision.reset_after) == left
    assert state == after


@pytest.mark.parametrize(
    ("before", "units", "now_s", "remaining", "retry_after"),
    [
        (counted((1000, 5)), 1, 1000, 0, 100.0),
        (counted((1000, 5)), 1, 1099.999999, 0, 0.000001),
        # two units pass when the first counter has left, three when the second has
        (counted((1000, 2), (1030, 3)), 2, 1040, 0, 60.0),
        (counted((1000, 2), (1030, 3)), 3, 1040, 0, 90.0),
        (counted((1000, 2), (1030, 3)), 1, 990, 0, 110.0),
        # what is held leaves no sooner than a period from now
        (counted((1000, 2), held=3), 5, 1040, 0, 100.0),
        (counted((1000, 2), held=3), 2, 1040, 0, 60.0),
        # overdrawn by a settlement
        (counted((1000, 9)), 1, 1040, 0, 60.0),
        (counted((1000, 2)), 6, 1040, 3, math.inf),
    ],
)
def test_a_refusal_charges_nothing_and_says_when_to_come_back(
    before: WindowState, units: int, now_s: float, remaining: int, retry_after: float
) -> None:
    decision, state = WINDOW.decide(before, units, us(now_s))

    assert (decision.allowed, decision.remaining, decision.retry_after) == (False, remaining, retry_after)
    assert state == before


def test_held_units_count_until_the_work_starts_and_for_a_period_more() -> None:
    held = WINDOW.hold(WindowState(), 5)
    assert WINDOW.remaining(held, us(1000)) == 0

    started = WINDOW.start(held, 5, us(1500))

    assert started == counted((1500.25, 5))  # dated 1/100 of the period late, and at most a quarter of a second
    assert WINDOW.remaining(started, us(1600.249999)) == 0
    assert WINDOW.remaining(started, us(1600.25)) == 5


def test_held_units_of_work_that_never_runs_are_free_again() -> None:
    assert WINDOW.unhold(WINDOW.hold(WindowState(), 3), 3) == WindowState()
    assert WINDOW.unhold(WINDOW.hold(WindowState(), 3), 4) == WindowState()


@pytest.mark.parametrize(
    ("units", "charged_s", "now_s", "after"),
    [
        (2, 1000, 1050, counted((1000, 1), (1030, 2))),
        (2, 999.5, 1050, counted((1000, 1), (1030, 2))),  # it had been counted with the later of its cell
        (2, 1030, 1050, counted((1000, 3), (1030, 0))),
        (9, 1000, 1050, counted((1000, 0), (1030, 2))),  # a counter gives no more than it holds
        (2, 1000, 1100, counted((1030, 2))),  # it has left: the next counter holds what others spent
        (2, 1031, 1050, counted((1000, 3), (1030, 2))),
    ],
)
def test_a_refund_goes_to_where_the_units_were_counted(units: int, charged_s: float, now_s: float, after: WindowState) -> None:
    before = counted((1000, 3), (1030, 2))

    assert WINDOW.refund(before, units, us(now_s), us(charged_s)) == after


def test_idle_then_a_burst_gives_the_limit_and_not_twice_the_limit() -> None:
    state = WindowState()
    admitted: list[int] = []
    for now_us in [us(1000)] * 9 + [us(1099.9)] * 9 + [us(1100)] * 9:
        decision, state = WINDOW.decide(state, 1, now_us)
        admitted.append(decision.allowed)

    assert [sum(admitted[:9]), sum(admitted[9:18]), sum(admitted[18:])] == [5, 0, 5]


def test_memory_is_bounded() -> None:
    busy = SlidingWindow(capacity=10**9, period_us=100 * SECOND_US)
    state = WindowState()
    for step in range(3_000):
        _, state = busy.decide(state, 1, us(1000) + step * SECOND_US // 7)

    assert len(state.counted) <= CELLS + 1
