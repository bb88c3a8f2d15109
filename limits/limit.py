"""A limit is one rule on one scope.

    WINDOW      at most `capacity` units in *every* stretch of `period_us`, wherever it starts
    BUCKET      bursts of at most `capacity` units, refilled at `refill` units per `period_us`
    IN_FLIGHT   at most `capacity` tasks at the same time

A limit is counted in requests (a task costs its `weight`, 1 by default) or in tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from .priority import name_of

SECOND_US = 1_000_000


class LimitKind(StrEnum):
    """How a limit counts: units in any stretch of time, units that come back at a rate, or units at the same time."""

    WINDOW = "window"
    BUCKET = "bucket"
    IN_FLIGHT = "in_flight"


class Unit(StrEnum):
    """What a limit counts: calls by their `weight`, or what they spend in tokens."""

    REQUESTS = "requests"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Limit:
    """One rule.

    Parameters
    ----------
    kind, unit:
        What is counted, and how.
    capacity:
        Units; at least 1.
    period_us:
        The window's length, or the time in which a bucket gains `refill` units; 0 for IN_FLIGHT.
    refill:
        Units that a bucket gains per `period_us`; 0 for the other kinds.
    shadow:
        Whether it only counts and reports, and never holds anything back.
    reserved, reserved_for:
        So many of its units, less than `capacity`, are kept for work of this priority and above; 0 for none.
    """

    kind: LimitKind
    capacity: int
    unit: Unit = Unit.REQUESTS
    period_us: int = 0
    refill: int = 0
    shadow: bool = False
    reserved: int = 0
    reserved_for: int = 0

    @property
    def id(self) -> str:
        """Names the limit inside its scope: two limits of one scope never share an id."""
        if self.kind is LimitKind.WINDOW:
            return f"{self.unit}/{format_duration(self.period_us)}"
        return "burst" if self.kind is LimitKind.BUCKET else "in_flight"

    @property
    def kind_in_scripts(self) -> str:
        """What the scripts call the kind."""
        return f"shadow {self.kind}" if self.shadow else str(self.kind)

    def capacity_for(self, priority: int) -> int:
        """Units that work of this priority may use."""
        return self.capacity if priority >= self.reserved_for else self.capacity - self.reserved

    def open_to(self, priority: int) -> Limit:
        """The limit as work of this priority meets it."""
        return replace(self, capacity=self.capacity_for(priority), reserved=0, reserved_for=0) if self.reserved else self

    def __str__(self) -> str:
        reserve = f", {self.reserved} of them for {name_of(self.reserved_for)} and above" if self.reserved else ""
        return f"{self._rule}{reserve}{' (shadow)' if self.shadow else ''}"

    @property
    def _rule(self) -> str:
        if self.kind is LimitKind.WINDOW:
            return f"{self.capacity} {self.unit} per {format_duration(self.period_us)}"
        if self.kind is LimitKind.BUCKET:
            return f"bursts of {self.capacity} {self.unit}, {self.refill} per {format_duration(self.period_us)}"
        return f"{self.capacity} in flight"


def format_duration(duration_us: int) -> str:
    """A duration in its largest whole unit.

    >>> format_duration(60_000_000), format_duration(1_500_000)
    ('1m', '1500ms')
    """
    for suffix, size_us in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", SECOND_US)):
        if duration_us % size_us == 0:
            return f"{duration_us // size_us}{suffix}"
    if duration_us % 1_000 == 0:
        return f"{duration_us // 1_000}ms"
    return f"{duration_us}us"
