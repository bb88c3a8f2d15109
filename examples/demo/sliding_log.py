"""A sliding log is the exact memory of one window: what happened in the stretch (now - W, now]."""

from __future__ import annotations

from collections import deque


class SlidingLog:
    """Every event of the last `period_ns`, and the sum of its units.

    The stretch is half-open: an event that is exactly `period_ns` old no longer counts. Times must not run backwards.
    Each event is stored once and dropped once, so a call costs amortised constant time; memory is what the window holds.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._events: deque[tuple[int, int]] = deque()
        self._units = 0

    def add(self, units: int, now_ns: int) -> None:
        self._events.append((now_ns, units))
        self._units += units

    def units_at(self, now_ns: int) -> int:
        """Units in (now - W, now]. Forgets what is older."""
        horizon_ns = now_ns - self._period_ns
        while self._events and self._events[0][0] <= horizon_ns:
            self._units -= self._events.popleft()[1]
        return self._units

    def freed_at_ns(self, units: int) -> int | None:
        """When the oldest `units` will have left the window; None when it holds fewer."""
        freed = 0
        for at_ns, size in self._events:
            freed += size
            if freed >= units:
                return at_ns + self._period_ns
        return None
