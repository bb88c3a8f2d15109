"""What a benchmark is given: a server, and how much to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from figure import Figure
from server import Server


class Scale(IntEnum):
    """QUICK shows only that a benchmark runs; its figures say nothing."""

    QUICK = 0
    NORMAL = 1
    FULL = 2


@dataclass(frozen=True, slots=True)
class Bench:
    server: Server
    scale: Scale

    def size(self, quick: int, normal: int, full: int | None = None) -> int:
        """One of the three, by the scale; without `full`, FULL is as NORMAL."""
        return (quick, normal, normal if full is None else full)[self.scale]


Benchmark = Callable[[Bench], Iterator[Figure]]
