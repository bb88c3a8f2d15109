"""A circuit breaker. Pure: state and now in, state out.

Redis decides (`lua/parts/breaker.lua`); this is what it must decide, and the tests hold it to that.

             failures / calls >= failure_ratio
    closed ───────────────────────────────────▶ open
      ▲                                        │   ▲
      │ `probes` probes succeeded    cool-down │   │ a probe failed
      │                                 over   ▼   │
      └──────────────────────────────────── half_open
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from .errors import TurgorError
from .outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

CELLS = 10
RAMP_FLOOR = 0.1
LOOK_AGAIN_US = 1_000_000
FORGOTTEN_US = 86_400_000_000


class Circuit(StrEnum):
    """What a breaker lets pass: all, nothing, or a few probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


TRANSITIONS: Mapping[Circuit, frozenset[Circuit]] = {
    Circuit.CLOSED: frozenset({Circuit.OPEN}),
    Circuit.OPEN: frozenset({Circuit.HALF_OPEN}),
    Circuit.HALF_OPEN: frozenset({Circuit.OPEN, Circuit.CLOSED}),
}


class IllegalTransition(TurgorError):
    """A breaker was asked for a transition that it does not have. A defect of Turgor, not of its user."""

    def __init__(self, before: Circuit, after: Circuit) -> None:
        self.before, self.after = before, after
        super().__init__(f"a breaker that is {before} cannot become {after}")

    def __reduce__(self) -> tuple[type[IllegalTransition], tuple[Circuit, Circuit]]:
        return type(self), (self.before, self.after)


class Cell(NamedTuple):
    """What ended in one part of the window, which starts at `start_us`."""

    start_us: int
    ok: int
    failed: int


@dataclass(frozen=True, slots=True)
class BreakerState:
    """What is stored of a breaker. The default is one that never saw a call, which is not stored at all.

    Parameters
    ----------
    circuit:
        Where it is.
    since_us:
        The time of the last transition; 0 if there was none.
    until_us:
        While open: when the cool-down ends.
    trips:
        How often it has opened, of late; 0 if never.
    passed:
        While half-open: probes that succeeded.
    cells:
        While closed: what ended in the window, oldest first; at most `CELLS` + 1.
    probing:
        While half-open: the calls that probe, and when each is given up.
    """

    circuit: Circuit = Circuit.CLOSED
    since_us: int = 0
    until_us: int = 0
    trips: int = 0
    passed: int = 0
    cells: tuple[Cell, ...] = ()
    probing: Mapping[str, int] = field(default_factory=dict[str, int])

    def move(self, to: Circuit, at_us: int) -> BreakerState:
        """The state after a transition, with nothing counted yet.

        Raises
        ------
        IllegalTransition
            `TRANSITIONS` has no such transition.
        """
        if to not in TRANSITIONS[self.circuit]:
            raise IllegalTransition(self.circuit, to)
        return BreakerState(to, at_us, trips=self.trips)


@dataclass(frozen=True, slots=True)
class Breaker:
    """Holds work back from a service that fails.

    The window W is cut into `CELLS` cells, and what ends in one cell shares a counter. With f failures among n
    calls that ended in the cells that started less than W ago,

        closed              all calls pass;  opens at  n >= minimum_calls and f >= failure_ratio n
        open                none passes, for min(cool_down 2^(trips - 1), max_cool_down)
        half-open           a call passes iff  probes in flight + probes passed < probes
                            one that fails opens;  `probes` that succeed close
        closed after that   the share of the limits that may be used is  RAMP_FLOOR + (1 - RAMP_FLOOR) t / ramp

    Regimes. Healthy: counts, and refuses nothing. Below `minimum_calls`: never opens, however much fails. Down:
    one round of probes for each cool-down, which doubles until `max_cool_down`. Flapping: a trip within
    `max_cool_down` of the last close goes on doubling; later ones begin anew.

    A throttled call is no failure, and is not counted at all. A call that was admitted before the breaker opened
    and ends after it says nothing: only the probes themselves decide. A breaker that is not closed and
    of which nothing was heard for a day after its cool-down is forgotten.

    Source: M. Nygard, "Release It!" (2007), chapter 5; the half-open limit as in Resilience4j.

    Parameters
    ----------
    failure_ratio:
        Above 0, at most 1.
    minimum_calls, probes:
        Calls, at least 1.
    window_us, cool_down_us, max_cool_down_us, ramp_us:
        Microseconds, at least 1.
    """

    failure_ratio: float
    minimum_calls: int
    window_us: int
    cool_down_us: int
    max_cool_down_us: int
    probes: int
    ramp_us: int

    def current(self, state: BreakerState, now_us: int) -> BreakerState:
        """The state as time alone has made it: cooled down, probes given up, forgotten."""
        if state.circuit is not Circuit.CLOSED and now_us >= state.until_us + FORGOTTEN_US:
            return BreakerState()
        if state.circuit is Circuit.OPEN and now_us >= state.until_us:
            return replace(state.move(Circuit.HALF_OPEN, state.until_us), until_us=state.until_us)
        living = {holder: deadline_us for holder, deadline_us in state.probing.items() if deadline_us > now_us}
        return replace(state, probing=living)

    def allow_at(self, state: BreakerState, now_us: int) -> int:
        """When the next call may pass, in microseconds; `now_us` if it may pass now."""
        state = self.current(state, now_us)
        if state.circuit is Circuit.OPEN:
            return state.until_us
        if state.circuit is Circuit.HALF_OPEN and len(state.probing) + state.passed >= self.probes:
            # A probe that ends decides at once, so this is only how often to look whether it did.
            return now_us + LOOK_AGAIN_US
        return now_us

    def admit(self, state: BreakerState, holder: str, now_us: int, deadline_us: int) -> BreakerState:
        """A call that may pass passes; while half-open, it is a probe until `deadline_us`."""
        state = self.current(state, now_us)
        if state.circuit is Circuit.HALF_OPEN:
            return replace(state, probing={**state.probing, holder: deadline_us})
        return state

    def report(self, state: BreakerState, outcome: Outcome, holder: str, now_us: int) -> BreakerState:
        """A call has ended, and this is how. OPEN frees the place of a probe, and says nothing else."""
        state = self.current(state, now_us)
        if state.circuit is Circuit.CLOSED and outcome in (Outcome.OK, Outcome.FAILED):
            return self._judge(self._count(state, outcome, now_us), now_us)
        if state.circuit is Circuit.HALF_OPEN and holder in state.probing:
            return self._probe(state, outcome, holder, now_us)
        return state

    def share(self, state: BreakerState, now_us: int) -> float:
        """How much of the service's limits may be used: 1.0, or less for a while after the breaker closed."""
        if state.circuit is not Circuit.CLOSED or not state.trips:
            return 1.0
        return min(1.0, RAMP_FLOOR + (1 - RAMP_FLOOR) * max(0, now_us - state.since_us) / self.ramp_us)

    def calls_of(self, state: BreakerState, now_us: int) -> int:
        """Calls that count in the window."""
        return sum(cell.ok + cell.failed for cell in self._counted(state, now_us))

    def failure_ratio_of(self, state: BreakerState, now_us: int) -> float:
        """The share of the calls in the window that failed; 0.0 where there is none."""
        calls = self.calls_of(state, now_us)
        return sum(cell.failed for cell in self._counted(state, now_us)) / calls if calls else 0.0

    def _counted(self, state: BreakerState, now_us: int) -> tuple[Cell, ...]:
        return tuple(cell for cell in state.cells if cell.start_us > now_us - self.window_us)

    def _count(self, state: BreakerState, outcome: Outcome, now_us: int) -> BreakerState:
        failed = int(outcome is Outcome.FAILED)
        start_us = now_us - now_us % max(1, self.window_us // CELLS)
        cells = self._counted(state, now_us)
        # If the clock runs backwards, the call is counted in the newest cell.
        if cells and cells[-1].start_us >= start_us:
            last = cells[-1]
            return replace(state, cells=(*cells[:-1], Cell(last.start_us, last.ok + 1 - failed, last.failed + failed)))
        return replace(state, cells=(*cells, Cell(start_us, 1 - failed, failed)))

    def _judge(self, state: BreakerState, now_us: int) -> BreakerState:
        calls = sum(cell.ok + cell.failed for cell in state.cells)
        failed = sum(cell.failed for cell in state.cells)
        if calls < self.minimum_calls or failed < self.failure_ratio * calls:
            return state
        is_repeated = state.trips and now_us - state.since_us <= self.max_cool_down_us
        return self._open(state, state.trips if is_repeated else 0, now_us)

    def _probe(self, state: BreakerState, outcome: Outcome, holder: str, now_us: int) -> BreakerState:
        if outcome is Outcome.FAILED:
            return self._open(state, state.trips, now_us)
        probing = {name: deadline_us for name, deadline_us in state.probing.items() if name != holder}
        passed = state.passed + (outcome is Outcome.OK)
        if passed >= self.probes:
            return state.move(Circuit.CLOSED, now_us)
        return replace(state, passed=passed, probing=probing)

    def _open(self, state: BreakerState, trips_before: int, now_us: int) -> BreakerState:
        cool_down_us = self.max_cool_down_us
        # A shift by many trips would be a number that no double holds.
        if trips_before < 50:
            cool_down_us = min(self.cool_down_us * 2**trips_before, self.max_cool_down_us)
        opened = state.move(Circuit.OPEN, now_us)
        return replace(opened, until_us=now_us + cool_down_us, trips=trips_before + 1)
