"""A judge decides from the times of the admitted calls alone whether a limit was kept. It shares no code with the limiters.

It reads the tables of `limits.toml` by itself, and keeps an exact log of each limit: no cells, no rounding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

SECOND_US = 1_000_000
PERIODS_US = {"second": SECOND_US, "minute": 60 * SECOND_US, "hour": 3_600 * SECOND_US, "day": 86_400 * SECOND_US}
UNITS_US = {"ms": 1_000, "s": SECOND_US, "m": 60 * SECOND_US}


@dataclass
class Admitted:
    """A call that passed, and what it counts for. `tokens` changes when it is settled."""

    at_us: int
    weight: int
    tokens: int
    holder: str
    until_us: int


class Judge(Protocol):
    def admit(self, call: Admitted) -> None:
        """Raise `AssertionError` if the limit had no room for this call."""
        ...


@dataclass
class SlidingLog:
    """Every unit of the last period, one by one."""

    capacity: int
    period_us: int
    counts: str
    log: deque[tuple[int, Admitted]] = field(default_factory=deque[tuple[int, Admitted]])

    def admit(self, call: Admitted) -> None:
        while self.log and self.log[0][0] <= call.at_us - self.period_us:
            self.log.popleft()
        self.log.append((call.at_us, call))
        counted = sum(getattr(each, self.counts) for _, each in self.log)
        assert counted <= self.capacity, f"{counted} {self.counts} of {self.capacity} in {self.period_us} µs up to {call.at_us}"


@dataclass
class Bucket:
    """The fill, in exact integers: units times the period."""

    capacity: int
    refill: int
    period_us: int
    fill: int = -1
    last_us: int = 0

    def admit(self, call: Admitted) -> None:
        full = self.capacity * self.period_us
        gained = (call.at_us - self.last_us) * self.refill
        self.fill = (full if self.fill < 0 else min(full, self.fill + gained)) - call.weight * self.period_us
        self.last_us = call.at_us
        assert self.fill >= 0, f"a bucket of {self.capacity} was overdrawn by {-self.fill / self.period_us} at {call.at_us}"


@dataclass
class Slots:
    """Who is in flight."""

    capacity: int
    running: list[Admitted] = field(default_factory=list[Admitted])

    def admit(self, call: Admitted) -> None:
        self.running = [each for each in self.running if each.until_us > call.at_us]
        self.running.append(call)
        assert len(self.running) <= self.capacity, f"{len(self.running)} of {self.capacity} in flight at {call.at_us}"


def judges_of(table: Mapping[str, Any]) -> Iterator[Judge]:
    """A judge for each limit of one table."""
    rates = [(PERIODS_US[name], table[f"requests_per_{name}"]) for name in PERIODS_US if f"requests_per_{name}" in table]
    rates += [(_duration_us(each["per"]), each["limit"]) for each in table.get("windows", ())]
    for period_us, limit in rates:
        yield SlidingLog(limit, period_us, "weight")
    if "burst_capacity" in table:
        period_us, limit = min(rates)
        yield Bucket(table["burst_capacity"], limit, period_us)
    if "max_in_flight" in table:
        yield Slots(table["max_in_flight"])
    for name, limit in table.get("token_limits", {}).items():
        yield SlidingLog(limit, PERIODS_US[name.removeprefix("per_")], "tokens")


class Court:
    """The judges of all scopes of some tables. A scope that only a template covers gets judges of its own."""

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self._tables = tables
        self._judges: dict[str, list[Judge]] = {}

    def admit(self, service: str, endpoint: str, loop_type: str, loop: str, call: Admitted) -> None:
        """Raise `AssertionError` if a limit of any scope had no room for this call."""
        for scope, table in self._scopes(service, endpoint, loop_type, loop):
            if scope not in self._judges:
                self._judges[scope] = list(judges_of(table))
            for judge in self._judges[scope]:
                judge.admit(call)

    def _scopes(self, service: str, endpoint: str, loop_type: str, loop: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        tables = self._tables
        yield "global", tables.get("global", {})
        service_table = tables.get("services", {}).get(service, {})
        yield f"service {service}", service_table
        yield f"endpoint {service} {endpoint}", _named(service_table.get("endpoints", {}), endpoint)
        yield f"loop type {loop_type}", _named(tables.get("loop_types", {}), loop_type)
        yield f"loop {loop}", _named(tables.get("loops", {}), loop)


def _named(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return tables.get(name, tables.get("*", {})) if name else {}


def _duration_us(text: str) -> int:
    unit = text.lstrip("0123456789")
    return int(text.removesuffix(unit)) * UNITS_US[unit]
