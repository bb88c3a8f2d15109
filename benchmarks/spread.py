"""A spread is what several rounds gave: their median, and how far they lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Rounds = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Spread:
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def interleave(rounds: int, contenders: Mapping[str, Callable[[], float]]) -> Rounds:
    """Measure each contender once a round, in turn, so that a slow spell of the machine meets all of them.

    Every second round goes backwards: whoever comes after a slow one is not always the same.
    """
    found: Rounds = {name: [] for name in contenders}
    for number in range(rounds):
        order = list(contenders.items())
        for name, measure in reversed(order) if number % 2 else order:
            found[name].append(measure())
    return found


def ratio(rounds: Rounds, name: str, base: str) -> Spread:
    """The ratio of two contenders, round by round."""
    return Spread.of(one / other for one, other in zip(rounds[name], rounds[base], strict=True))
