"""The screen: a live view on a terminal, one plain line for each moment on a pipe."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from turgor.monitor.status import gates_table, lanes_table, limits_table

from .moment import Moment
from .report import priority_name, waits_table

_GATE_ROWS = 5
_FEW_LANES = 5
_SECTIONS = ("limits", "waits and gates", "lanes")
# Two lines above the sections, and a header for each.
_FIXED_ROWS = 2 + len(_SECTIONS)


class Screen:
    """Shows moments for as long as the context lasts.

    Parameters
    ----------
    console:
        Where.
    hint:
        Where a viewer can look for himself.
    seconds:
        How long the demo runs, if it ends by itself.
    """

    def __init__(self, console: Console, *, hint: str, seconds: float | None) -> None:
        self._console, self._seconds = console, seconds
        self._hint, self._note = hint, ""
        self._live = Live(console=console, screen=True, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is None:
            self._print(self._hint)
        else:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, moment: Moment) -> None:
        if self._live is None:
            self._print(plain(moment))
        else:
            self._live.update(self._view(moment), refresh=True)

    def note(self, text: str) -> None:
        """Something has happened that a viewer should know."""
        self._note = text
        if self._live is None:
            self._print(text)

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _view(self, moment: Moment) -> RenderableType:
        beside = Table.grid(padding=(0, 3, 0, 0))
        beside.add_row(waits_table(moment.waits), gates_table(moment.survey, most=_GATE_ROWS))
        held = max(len(moment.waits), min(len(moment.survey.gates), _GATE_ROWS))
        free = self._console.height - _FIXED_ROWS - len(moment.usage) - held
        # Air between the sections and the hint at the end, where there is room for them and for some lanes too.
        extras = len(_SECTIONS) + 2
        air = [Text()] if free > extras + _FEW_LANES else []
        lanes = lanes_table(moment.survey, most=max(0, free - extras * len(air)))
        hint = [Text(self._hint, style="dim", no_wrap=True, overflow="ellipsis")] * len(air)
        heads = (self._headline(moment), self._subline(moment))
        return Group(*heads, *air, limits_table(moment.usage), *air, beside, *air, lanes, *air, *hint)

    def _headline(self, moment: Moment) -> Text:
        end = "" if self._seconds is None else f"/{self._seconds:g}"
        violations = moment.judged.violations
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("Turgor ", style="bold").append(f"{moment.elapsed_s:.0f}{end} s  ")
        text.append(str(moment.judged.calls), style="bold").append(f" calls  {sum(moment.calls_per_s.values()):.0f}/s  ")
        text.append(f"{violations} over the limit", style="bold green" if violations == 0 else "bold red")
        text.append(f"  {moment.survey.waiting} waiting  {moment.survey.in_flight} in flight")
        if moment.failures:
            text.append(f"  {moment.failures} failed", style="bold red")
        return text

    def _subline(self, moment: Moment) -> Text:
        rates = "  ".join(f"{service} {rate:.0f}/s" for service, rate in moment.calls_per_s.items())
        note = (f"   {self._note}", "yellow")
        return Text.assemble(rates, note, no_wrap=True, overflow="ellipsis")


def plain(moment: Moment) -> str:
    """One line for a pipe or a log: what was called, what is used of the services' windows, who waited how long."""
    rates = " ".join(f"{service} {rate:.0f}/s" for service, rate in moment.calls_per_s.items())
    used = " ".join(
        f"{each.scope.removeprefix('service:')} {each.limit.capacity - each.remaining}/{each.limit.capacity}"
        for each in moment.usage
        if each.scope.startswith("service:") and each.limit.id.startswith("requests/")
    )
    waits = " ".join(f"{priority_name(priority)} {waits.percentile_s(95):.1f} s" for priority, waits in moment.waits.items())
    closed = " ".join(f"{gate.scope} {gate.opens_in_s:.1f} s" for gate in moment.survey.gates[:_GATE_ROWS])
    return " | ".join(
        (
            f"{moment.elapsed_s:4.0f} s",
            f"{moment.judged.calls} calls ({rates})",
            f"{moment.judged.violations} over the limit",
            f"used: {used}",
            f"{moment.survey.waiting} waiting, {moment.survey.in_flight} in flight",
            f"p95 waits: {waits}",
            f"closed: {closed or 'none'}",
        )
    )
