"""A tally counts what a limiter said in this process."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LimiterStatistics:
    """What a limiter said, in this process, since it was made.

    Parameters
    ----------
    allowed, refused:
        Decisions. A request that can never pass (`CostTooLarge`) is neither.
    units_allowed, tokens_allowed:
        Units charged to limits that count requests, and to limits that count tokens.
    """

    allowed: int = 0
    refused: int = 0
    units_allowed: int = 0
    tokens_allowed: int = 0


class Tally:
    """Counts decisions. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._allowed = self._refused = self._units = self._tokens = 0

    def count(self, units: int, tokens: int, *, allowed: bool) -> None:
        with self._lock:
            if allowed:
                self._allowed += 1
                self._units += units
                self._tokens += tokens
            else:
                self._refused += 1

    def statistics(self) -> LimiterStatistics:
        with self._lock:
            return LimiterStatistics(self._allowed, self._refused, self._units, self._tokens)
