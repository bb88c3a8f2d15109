"""Backoff says how long a retry waits: exponential, with full jitter."""

from __future__ import annotations

import math
from dataclasses import dataclass

# A time that every clock and calendar here can still name.
LONGEST_DELAY_S = 366 * 86_400.0
# 1 ms, doubled so often, is past the longest delay. It keeps the power a number.
_ENOUGH_DOUBLINGS = 60


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter.

        ceiling(n)   = min(max_delay, first_delay * 2 ** (n - 1))
        countdown(n) = chance * ceiling(n),    chance uniform in [0, 1)

    Full jitter spreads those that failed together over the whole of the ceiling, so that they do not come back
    together; on average it waits half as long as the bare exponential. Until the ceiling reaches `max_delay` it
    doubles; from then on every countdown is drawn from the same range.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Parameters
    ----------
    first_delay_s:
        The ceiling of the first retry, in seconds.
    max_delay_s:
        No ceiling is higher, in seconds. None: only that of a year, which is a limit of calendars.
    """

    first_delay_s: float = 1.0
    max_delay_s: float | None = None

    def ceiling_s(self, retry: int) -> float:
        """The longest countdown of a retry, the first being 1."""
        longest_s = LONGEST_DELAY_S if self.max_delay_s is None else self.max_delay_s
        return min(longest_s, math.ldexp(self.first_delay_s, min(retry - 1, _ENOUGH_DOUBLINGS)))

    def countdown_s(self, retry: int, chance: float) -> float:
        """Seconds that a retry waits, from a `chance` in [0, 1)."""
        return chance * self.ceiling_s(retry)
