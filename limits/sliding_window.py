"""A sliding window of conservative counters. Pure: state and now in, decision and state out.

Redis decides (`lua/parts/window.lua`); this is what it must decide, and the tests hold it to that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from .decision import Decision
from .limit import SECOND_US

CELLS = 100
START_SLACK = 1 / 100
SOON = 1 / 20
LONGEST_SLACK_US = 250_000
LONGEST_SOON_US = 1_000_000


class Counted(NamedTuple):
    """Units that were counted in one part of the period, dated at the latest of them."""

    time_us: int
    units: int


@dataclass(frozen=True, slots=True)
class WindowState:
    """What is stored of a window. The default is an unused one, which is not stored at all.

    Parameters
    ----------
    counted:
        Units by time, oldest first; at most `CELLS` + 1 entries.
    held:
        Units of work that is released and has not started.
    """

    counted: tuple[Counted, ...] = ()
    held: int = 0

    @property
    def used(self) -> int:
        return sum(each.units for each in self.counted)


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """At most `capacity` units in every stretch of `period_us`, wherever it starts.

    The period P is cut into `CELLS` cells, aligned to the clock. Units that fall into one cell share a counter,
    dated at the latest of them, and a counter is dropped when it is P old. So a unit counts for at least P and
    at most P (1 + 1/CELLS):

        counted             those with time > now - P
        n units pass        iff   used + held + n <= capacity
        remaining                 capacity - used - held
        retry after               until the oldest counters that hold the excess are P old

    Regimes. Steady use below the limit: never refuses. Saturated: at least 1 / (1 + 1/CELLS) = 99% of the limit
    is used. Idle, then a burst: the burst passes up to `capacity`, and then nothing until it is P old; a weighted
    counter of two windows would admit almost twice as much here. If the clock runs backwards, units are dated at
    the latest counter: they count longer, and never shorter.

    Source: the sliding log (exact, one entry for each unit), made coarser on the side that keeps the promise.

    Parameters
    ----------
    capacity:
        Units, at least 1.
    period_us:
        Microseconds, at least 1.
    """

    capacity: int
    period_us: int

    def decide(self, state: WindowState, units: int, now_us: int, *, reserved: int = 0) -> tuple[Decision, WindowState]:
        """Charge `units`, or refuse and leave the state as it is. `reserved` units are not for this call: they are left."""
        if reserved:
            return replace(self, capacity=self.capacity - reserved).decide(state, units, now_us)
        current = self._current(state, now_us)
        if units > self.capacity:
            return self._decision(current, now_us, math.inf), state
        allow_at_us = self._allow_at_us(current, units, now_us)
        if allow_at_us > now_us:
            return self._decision(current, now_us, (allow_at_us - now_us) / SECOND_US), state
        charged = self._count(current, units, now_us)
        return self._decision(charged, now_us, 0.0), charged

    def hold(self, state: WindowState, units: int) -> WindowState:
        """Count units of work that is released and has not started."""
        return replace(state, held=state.held + units)

    def unhold(self, state: WindowState, units: int) -> WindowState:
        """The work will never start."""
        return replace(state, held=max(0, state.held - units))

    def start(self, state: WindowState, units: int, now_us: int) -> WindowState:
        """The work starts; its call reaches the service a little later, and counts from then."""
        return self._count(self._current(self.unhold(state, units), now_us), units, self._date_of_start(now_us))

    def take_back(self, state: WindowState, units: int, now_us: int, started_at_us: int) -> WindowState:
        """Take back what work that started at `started_at_us` did not need, if it still counts."""
        return self.refund(state, units, now_us, self._date_of_start(started_at_us))

    def refund(self, state: WindowState, units: int, now_us: int, charged_at_us: int) -> WindowState:
        """Take back what was counted at `charged_at_us`, if it still counts."""
        current = self._current(state, now_us)
        if charged_at_us <= now_us - self.period_us:
            return current
        for at, each in enumerate(current.counted):
            if each.time_us >= charged_at_us:
                left = Counted(each.time_us, each.units - min(units, each.units))
                return replace(current, counted=(*current.counted[:at], left, *current.counted[at + 1 :]))
        return current

    def restart(self, state: WindowState, units: int, now_us: int, started_at_us: int) -> WindowState:
        """The work that started at `started_at_us` has not made its call yet: it starts now."""
        if not 0 <= now_us - started_at_us <= self.period_us:
            return state
        return self._redate(state, units, now_us, started_at_us, self._date_of_start(now_us))

    def finish(self, state: WindowState, units: int, now_us: int, started_at_us: int) -> WindowState:
        """The work ends. If it has started just now, its call is dated at this time, and not later than it was made."""
        soon_us = min(self.period_us * SOON, LONGEST_SOON_US)
        if self._date_of_start(started_at_us) >= now_us or now_us - started_at_us > soon_us:
            return state
        return self._redate(state, units, now_us, started_at_us, now_us)

    def _redate(self, state: WindowState, units: int, now_us: int, started_at_us: int, date_us: int) -> WindowState:
        return self._count(self.refund(state, units, now_us, self._date_of_start(started_at_us)), units, date_us)

    def remaining(self, state: WindowState, now_us: int) -> int:
        """Units that would pass at once."""
        current = self._current(state, now_us)
        return max(0, self.capacity - current.used - current.held)

    def _date_of_start(self, time_us: int) -> int:
        return time_us + min(math.floor(self.period_us * START_SLACK), LONGEST_SLACK_US)

    def _current(self, state: WindowState, now_us: int) -> WindowState:
        horizon_us = now_us - self.period_us
        return replace(state, counted=tuple(each for each in state.counted if each.time_us > horizon_us))

    def _allow_at_us(self, current: WindowState, units: int, now_us: int) -> int:
        excess = current.used + current.held + units - self.capacity
        if excess <= 0:
            return now_us
        for each in current.counted:
            excess -= each.units
            if excess <= 0:
                return each.time_us + self.period_us
        return now_us + self.period_us

    def _count(self, current: WindowState, units: int, time_us: int) -> WindowState:
        *older, last = current.counted or (Counted(0, 0),)
        time_us = max(time_us, last.time_us)
        cell_us = self.period_us / CELLS
        if current.counted and time_us // cell_us == last.time_us // cell_us:
            return replace(current, counted=(*older, Counted(time_us, last.units + units)))
        return replace(current, counted=(*current.counted, Counted(time_us, units)))

    def _decision(self, current: WindowState, now_us: int, retry_after: float) -> Decision:
        reset_at_us = (
            now_us + self.period_us
            if current.held
            else current.counted[-1].time_us + self.period_us
            if current.counted
            else now_us
        )
        return Decision(
            allowed=not retry_after,
            remaining=max(0, self.capacity - current.used - current.held),
            retry_after=retry_after,
            reset_after=(reset_at_us - now_us) / SECOND_US,
            capacity=self.capacity,
        )
