"""Waits: how long calls of one priority took from their submit to their start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from turgor.limits.lua import Client

from .stopwatch import WAITS_KEY


@dataclass(frozen=True, slots=True)
class Waits:
    """A histogram, as milliseconds -> calls."""

    calls_by_ms: Mapping[int, int]

    @property
    def calls(self) -> int:
        return sum(self.calls_by_ms.values())

    def percentile_s(self, percent: float) -> float:
        """The wait in seconds that `percent` of the calls did not exceed (nearest rank); 0 without calls.

        >>> Waits({100: 90, 2000: 10}).percentile_s(90), Waits({100: 90, 2000: 10}).percentile_s(95)
        (0.1, 2.0)
        """
        rank, seen = self.calls * percent / 100, 0
        for wait_ms, calls in sorted(self.calls_by_ms.items()):
            seen += calls
            if seen >= rank:
                return wait_ms / 1000
        return 0.0


def waits_by_priority(client: Client) -> dict[int, Waits]:
    """What the stopwatch has noted, highest priority first."""
    found: dict[int, Counter[int]] = {}
    record: dict[bytes, bytes] = client.hgetall(WAITS_KEY)  # type: ignore[assignment]
    for field, calls in record.items():
        priority, _, wait_ms = field.partition(b":")
        found.setdefault(int(priority), Counter())[int(wait_ms)] += int(calls)
    return {priority: Waits(found[priority]) for priority in sorted(found, reverse=True)}
