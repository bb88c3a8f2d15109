"""A retry budget bounds how much of a service's load may be retries. Pure: state and now in, state out.

When a service is in trouble every caller retries, and it gets several times the load that it could not bear before. A
bound for each task does not help, because all of them retry at once; a bound on the whole does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

CELLS_OF_WINDOW = 10


@dataclass(frozen=True, slots=True)
class RetryCell:
    """What happened in one tenth of the window: first attempts that ended, and retries that were granted."""

    start_us: int
    first_attempts: int = 0
    retries: int = 0


RetryState = tuple[RetryCell, ...]


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Retries are at most a share of the first attempts of a window that moves along.

        allowed = max(minimum, floor(ratio * first_attempts))
        a retry is granted while retries < allowed

    While the service does well, few retries are asked for and all are granted. When it fails altogether, its load is
    at most 1 + ratio of what it was. With few first attempts the minimum counts, so that a service that is called
    rarely may be called again. First attempts count when they end, retries when they are granted, each in the tenth of the
    window where it falls; a tenth leaves as a whole, so what counts is between nine tenths of the window and all of it.

    Source: "Handling Overload" in Site Reliability Engineering (O'Reilly, 2016), per-client retry budget; the budgets of
    Finagle and Linkerd.

    Parameters
    ----------
    ratio:
        Retries for each first attempt.
    window_us:
        How far back both count, in microseconds.
    minimum:
        Retries of a window that are granted in any case.
    """

    ratio: float
    window_us: int
    minimum: int

    @property
    def cell_us(self) -> int:
        return max(1, self.window_us // CELLS_OF_WINDOW)

    def current(self, state: RetryState, now_us: int) -> RetryState:
        """The state without what has left the window."""
        return tuple(cell for cell in state if cell.start_us > now_us - self.window_us)

    def first_attempts(self, state: RetryState, now_us: int) -> int:
        return sum(cell.first_attempts for cell in self.current(state, now_us))

    def retries(self, state: RetryState, now_us: int) -> int:
        return sum(cell.retries for cell in self.current(state, now_us))

    def allowed(self, state: RetryState, now_us: int) -> int:
        """Retries of the window, those that were granted included."""
        return max(self.minimum, int(self.ratio * self.first_attempts(state, now_us)))

    def count_first(self, state: RetryState, now_us: int) -> RetryState:
        """A first attempt has ended."""
        *before, cell = self._with_cell(state, now_us)
        return (*before, replace(cell, first_attempts=cell.first_attempts + 1))

    def try_retry(self, state: RetryState, now_us: int) -> tuple[bool, RetryState]:
        """Whether a retry is granted, and the state after it."""
        if self.retries(state, now_us) >= self.allowed(state, now_us):
            return False, self.current(state, now_us)
        *before, cell = self._with_cell(state, now_us)
        return True, (*before, replace(cell, retries=cell.retries + 1))

    def _with_cell(self, state: RetryState, now_us: int) -> RetryState:
        """The state with a cell for now at its end. If the clock ran backwards, the newest cell serves."""
        cells, start_us = self.current(state, now_us), now_us - now_us % self.cell_us
        return cells if cells and cells[-1].start_us >= start_us else (*cells, RetryCell(start_us))
