"""A tally counts what a limiter said in this process."""

from __future__ import annotations

from dataclasses import dataclass

from .decision import Source
from .fork_safe_lock import ForkSafeLock


@dataclass(frozen=True, slots=True)
class LimiterStatistics:
    """What a limiter said, in this process, since it was made.

    Parameters
    ----------
    allowed, refused:
        Decisions. A request that can never pass (`CostTooLarge`) is neither.
    units_allowed, tokens_allowed:
        Units charged to limits that count requests, and to limits that count tokens.
    local, open:
        Decisions that were made without the server: by this process's share of the limits, and by letting the call pass.
    """

    allowed: int = 0
    refused: int = 0
    units_allowed: int = 0
    tokens_allowed: int = 0
    local: int = 0
    open: int = 0


class Tally:
    """Counts decisions. Threads may share it."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._allowed = self._refused = self._units = self._tokens = 0
        self._without_server = {Source.LOCAL: 0, Source.OPEN: 0}

    def count(self, units: int, tokens: int, *, allowed: bool, source: Source = Source.REDIS) -> None:
        with self._lock:
            if source is not Source.REDIS:
                self._without_server[source] += 1
            if allowed:
                self._allowed += 1
                self._units += units
                self._tokens += tokens
            else:
                self._refused += 1

    def statistics(self) -> LimiterStatistics:
        with self._lock:
            by_source = self._without_server
            decided = (self._allowed, self._refused, self._units, self._tokens)
            return LimiterStatistics(*decided, by_source[Source.LOCAL], by_source[Source.OPEN])
