"""The report at the end of a demo: what the service counted, and what that says of the limits, the waits and the shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from turgor.worker import Priority

from .judge_report import JudgeReport, ServiceReport, WindowReport
from .moment import Moment
from .waits import Waits


@dataclass(frozen=True, slots=True)
class Share:
    """What one loop got of all calls, as a fraction."""

    loop: str
    calls: int
    share: float


@dataclass(frozen=True, slots=True)
class DemoReport:
    """How a demo went.

    Parameters
    ----------
    at_the_bell:
        The moment when the time was up and everything still ran: for whatever is a rate.
    at_the_end:
        The moment when the last caller had stopped: for whatever is a count.
    """

    at_the_bell: Moment
    at_the_end: Moment

    @property
    def is_clean(self) -> bool:
        return self.at_the_end.is_clean

    def render(self) -> RenderableType:
        judged = self.at_the_end.judged
        return Group(
            Text(),
            _counts(self.at_the_bell.elapsed_s, self.at_the_end),
            _heading("The service's limits, and how much of them was used after the first window"),
            _limits(self.at_the_bell.judged),
            _heading("Waits, from submit to start"),
            waits_table(self.at_the_end.waits),
            _heading("Shares of all calls, by loop"),
            _shares(judged),
            Text("Planners and coders got what they asked for; reviewers share what was left.", style="dim"),
        )


def binding(service: ServiceReport) -> WindowReport | None:
    """The window that held the service's calls back: the one that was used most."""
    return max(service.windows, key=lambda window: (window.utilisation_whole or 0.0, window.peak_ratio), default=None)


def shares(judged: JudgeReport) -> dict[str, list[Share]]:
    """The share of each loop by its kind (`planner-1` is a planner); kinds and loops by name."""
    calls: dict[str, int] = {}
    for service in judged.services.values():
        for loop, count in service.by_loop.items():
            calls[loop] = calls.get(loop, 0) + count
    found: dict[str, list[Share]] = {}
    for loop in sorted(calls):
        found.setdefault(loop.rpartition("-")[0], []).append(Share(loop, calls[loop], calls[loop] / max(judged.calls, 1)))
    return found


def jain_index(amounts: Iterable[float]) -> float:
    """R. Jain's fairness index, (sum x)² / (n · sum x²): 1 if all got the same, 1/n if one got everything.

    >>> jain_index([2, 2, 2]), jain_index([6, 0, 0])
    (1.0, 0.3333333333333333)
    """
    amounts = list(amounts)
    squares = sum(amount * amount for amount in amounts)
    return sum(amounts) ** 2 / (len(amounts) * squares) if squares else 1.0


def percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"


def _counts(elapsed_s: float, end: Moment) -> Table:
    judged = end.judged
    table = Table.grid(padding=(0, 2))
    table.add_row("calls made", str(judged.calls), f"watched for {elapsed_s:.1f} s")
    table.add_row("over the limit", _alarming(judged.violations), "as the called service counted them")
    if judged.worst:
        worst = judged.worst
        early = "" if worst.early_by_s is None else f", {worst.early_by_s * 1000:.0f} ms early"
        table.add_row("", "", f"worst: {worst.service} {worst.excess} above {worst.limit} {worst.unit}{early}")
    table.add_row("tasks failed", _alarming(end.failures), Text(end.last_failure))
    table.add_row("still waiting", str(end.survey.waiting), "in Redis")
    return table


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _alarming(number: int) -> Text:
    return Text(str(number), style="bold green" if number == 0 else "bold red")


def _limits(judged: JudgeReport) -> Table:
    table = _table("service", "limit", "used", "most in any window", "")
    for name, service in judged.services.items():
        for window in service.windows:
            limit = f"{window.limit} {window.unit} per {window.seconds:g} s"
            note = "binds" if window is binding(service) else ""
            table.add_row(name, limit, percent(window.utilisation_whole), str(window.peak), note)
    return table


def waits_table(waits: Mapping[int, Waits]) -> Table:
    """How long calls of each priority waited."""
    table = _table("priority", "calls", "p50", "p95")
    for priority, each in waits.items():
        p50, p95 = (f"{each.percentile_s(percentage):.2f} s" for percentage in (50, 95))
        table.add_row(priority_name(priority), str(each.calls), p50, p95)
    return table


def priority_name(priority: int) -> str:
    known = {each.value: each.name for each in Priority}
    return f"{priority} {known.get(priority, '')}".rstrip()


def _shares(judged: JudgeReport) -> Table:
    table = _table("kind", "loops", "Jain index")
    for kind, loops in shares(judged).items():
        listing = "  ".join(f"{share.loop.removeprefix(kind)[1:]}: {percent(share.share)}" for share in loops)
        table.add_row(kind, listing, f"{jain_index(share.calls for share in loops):.3f}")
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in columns:
        is_number = column in ("calls", "used", "p50", "p95", "most in any window", "Jain index")
        table.add_column(column, justify="right" if is_number else "left", header_style="dim")
    return table
