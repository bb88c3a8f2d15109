"""A judged window is one published limit and the record of how it was kept.

Utilisation asks how much of the limit was used once it could bind. The first window is left out: it starts empty and may
be filled at once; what follows is the steady state. With `first` the service's first arrival and `until` the end of the
measurement there are two numbers, because a stretch that is not a whole number of windows is ambiguous:

    utilisation         accepted units in (first + W, until], divided by limit * (until - first - W) / W. It uses all the
                        time there is, and may pass 1 when a burst falls into the odd end: 10 per second, spent at once,
                        leave 20 in some stretches of 1.1 s.
    utilisation_whole   the same over (first + W, first + n W], the whole windows that ended by `until`. Never above 1.

Each is None while its stretch is empty.
"""

from __future__ import annotations

from dataclasses import dataclass

from .judge_report import WindowReport
from .sliding_log import SlidingLog

UNITS = ("requests", "tokens")
MAX_LIMIT = 1_000_000_000_000
SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """A published limit: at most `limit` units in every stretch of `seconds`, wherever it starts.

    Raises
    ------
    ValueError
        A limit out of range, a window shorter than a microsecond, or a unit that is neither requests nor tokens.
    """

    limit: int
    seconds: float
    unit: str = "requests"

    def __post_init__(self) -> None:
        # A table read from JSON may hold 60.5 or NaN where the type says int.
        if not 1 <= self.limit <= MAX_LIMIT or self.limit % 1:
            raise ValueError(f"limit {self.limit!r}: use a whole number from 1 to {MAX_LIMIT}")
        if not 1e-6 <= self.seconds <= 1e9:
            raise ValueError(f"seconds {self.seconds!r}: use 0.000001 to 1,000,000,000")
        if self.unit not in UNITS:
            raise ValueError(f"unit {self.unit!r}: use one of {', '.join(UNITS)}")

    @property
    def period_ns(self) -> int:
        return round(self.seconds * SECOND_NS)


class JudgedWindow:
    """One window, with an exact log of what was accepted and another of everything that arrived.

    The first log decides. The second measures the caller: refused calls were sent all the same.
    """

    def __init__(self, rule: Window) -> None:
        self.rule = rule
        self._accepted_log = SlidingLog(rule.period_ns)
        self._arrival_log = SlidingLog(rule.period_ns)
        self._arrivals = self._accepted = self._refused = 0
        self._units_arrived = self._units_accepted = self._peak = 0
        self._first_ns = self._last_ns = 0
        # Accepted units after the first window: of the windows that are over, and of the one at hand.
        self._past_units = self._current_units = self._current_window = 0

    def units_of(self, tokens: int) -> int:
        """What a call of so many tokens costs under this limit."""
        return tokens if self.rule.unit == "tokens" else 1

    def arrive(self, units: int, now_ns: int) -> None:
        if not self._arrivals:
            self._first_ns = now_ns
        self._last_ns = now_ns
        self._arrivals += 1
        self._units_arrived += units
        self._arrival_log.add(units, now_ns)
        self._peak = max(self._peak, self._arrival_log.units_at(now_ns))

    def peek_excess(self, units: int, now_ns: int) -> int:
        """By how much the limit would be exceeded if these units were accepted; 0 when they fit."""
        return max(0, self._accepted_log.units_at(now_ns) + units - self.rule.limit)

    def accept(self, units: int, now_ns: int) -> None:
        self._accepted += 1
        self._units_accepted += units
        self._accepted_log.add(units, now_ns)
        window = self._window_number(now_ns)
        if window > self._current_window:
            self._past_units += self._current_units
            self._current_window, self._current_units = window, 0
        if window:
            self._current_units += units

    def refuse(self) -> None:
        self._refused += 1

    def peek_remaining(self, now_ns: int) -> int:
        return self.rule.limit - self._accepted_log.units_at(now_ns)

    def peek_retry_after_ns(self, units: int, now_ns: int) -> int | None:
        """How long until these units fit, if nobody else takes any; None when they never do."""
        excess = self.peek_excess(units, now_ns)
        if not excess:
            return 0
        freed_at_ns = self._accepted_log.freed_at_ns(excess)
        return None if freed_at_ns is None else freed_at_ns - now_ns

    def peek_reset_after_ns(self, now_ns: int) -> int:
        """How long until the oldest accepted units leave the window; 0 when it holds none."""
        if not self._accepted_log.units_at(now_ns):
            return 0
        oldest_leave_ns = self._accepted_log.freed_at_ns(1)
        return 0 if oldest_leave_ns is None else oldest_leave_ns - now_ns

    def report(self, until_ns: int | None = None) -> WindowReport:
        """The record so far; utilisation up to `until_ns`, or to the last arrival if that is later or none is given."""
        end_ns = self._last_ns if until_ns is None else max(until_ns, self._last_ns)
        return WindowReport(
            limit=self.rule.limit,
            seconds=self.rule.seconds,
            unit=self.rule.unit,
            arrivals=self._arrivals,
            accepted=self._accepted,
            refused=self._refused,
            units_arrived=self._units_arrived,
            units_accepted=self._units_accepted,
            peak=self._peak,
            peak_ratio=self._peak / self.rule.limit,
            utilisation=self._utilisation(end_ns),
            utilisation_whole=self._utilisation_whole(end_ns),
        )

    def _window_number(self, now_ns: int) -> int:
        """Which window since the first arrival this is: k in (first + k W, first + (k + 1) W]; the first moment is in 0."""
        return max(0, now_ns - self._first_ns - 1) // self.rule.period_ns

    def _utilisation(self, end_ns: int) -> float | None:
        elapsed_ns = end_ns - self._first_ns - self.rule.period_ns
        if not self._arrivals or elapsed_ns <= 0:
            return None
        return (self._past_units + self._current_units) * self.rule.period_ns / (self.rule.limit * elapsed_ns)

    def _utilisation_whole(self, end_ns: int) -> float | None:
        ended = (end_ns - self._first_ns) // self.rule.period_ns
        if not self._arrivals or ended < 2:
            return None
        current_ended = self._current_window < ended
        units = self._past_units + (self._current_units if current_ended else 0)
        return units / (self.rule.limit * (ended - 1))
