"""A figure is one line of a result: what was measured, what came out, and the goal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a table. `met` is None where there is no goal."""

    what: str
    measured: str
    goal: str = ""
    met: bool | None = None

    @property
    def verdict(self) -> str:
        return "" if self.met is None else "met" if self.met else "**not met**"


def table(figures: Iterable[Figure]) -> str:
    """The figures in Markdown."""
    lines = ["| what | measured | goal | |", "| --- | --- | --- | --- |"]
    lines += [f"| {each.what} | {each.measured} | {each.goal} | {each.verdict} |" for each in figures]
    return "\n".join(lines)
