"""The status of a realm for a terminal: rich tables of what waits, what holds it, and what limits have left."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..limits.limit import Limit, LimitKind, Unit
from ..limits.regulator import RegulatorState
from ..limits.service_health import ServiceHealth
from ..limits.usage import LimitUsage
from ..scheduler.survey import ClosedGate, Survey

_BAR_WIDTH = 10
_NO_SLOT_LAPSES_S = 3_600.0
_NUMBERS = frozenset({"used", "lanes", "opens in", "tasks"})


def render(
    survey: Survey,
    usage: Iterable[LimitUsage] = (),
    held: Iterable[RegulatorState | ServiceHealth] = (),
    notes: Iterable[str] = (),
) -> RenderableType:
    """Counts, notes, what is paused, closed or ailing, limits, closed gates and lanes."""
    usage = tuple(usage)
    return Group(
        counts(survey),
        *(Text(note, style="dim") for note in notes),
        *(Text(str(state), style="bold red") for state in held),
        Text(),
        limits_table(usage),
        Text(),
        gates_table(survey, usage),
        Text(),
        lanes_table(survey),
    )


def plain(
    survey: Survey,
    usage: Iterable[LimitUsage] = (),
    held: Iterable[RegulatorState | ServiceHealth] = (),
    notes: Iterable[str] = (),
) -> str:
    """The counts as one line, for a pipe or a log; another line for each note, and scope that is paused, closed or ailing."""
    usage = tuple(usage)
    closed = ", ".join(f"{_gate(gate)} {_opens(gate, usage)}" for gate in survey.gates[:4])
    line = (
        f"waiting {survey.waiting}  delayed {survey.delayed}  in flight {survey.in_flight}  {_releasing(survey)}"
        f"ready lanes {survey.ready_lanes}  closed: {closed or 'none'}"
    )
    return "\n".join([line, *notes, *map(str, held)])


def counts(survey: Survey) -> Text:
    text = Text()
    for label, number in (
        ("waiting", survey.waiting),
        ("delayed", survey.delayed),
        ("in flight", survey.in_flight),
        ("ready lanes", survey.ready_lanes),
    ):
        text.append(f"{label} ").append(f"{number}  ", style="bold")
    return text.append(_releasing(survey), style="red")


def _releasing(survey: Survey) -> str:
    """What waits for a broker elsewhere; it says so if that is away."""
    return f"to be published {survey.releasing}  " if survey.releasing else ""


def limits_table(usage: Iterable[LimitUsage]) -> Table:
    """How much of each limit is used; one that has nothing left is red."""
    table, scope = _table("scope", "limit", "", "used"), ""
    for each in usage:
        capacity, used = each.limit.capacity, each.used
        style = "red" if each.remaining == 0 else "green"
        bar = ProgressBar(total=capacity, completed=used, width=_BAR_WIDTH, complete_style=style, finished_style=style)
        shown = "" if each.scope == scope else each.scope
        text = Text(f"{used}/{capacity}", style=style if used else "")
        if each.limit.shadow:
            text.append(f", would have held {each.shadowed}", style="dim")
        table.add_row(shown, _rule(each.limit), bar, text)
        scope = each.scope
    return table


def gates_table(survey: Survey, usage: Iterable[LimitUsage] = (), *, most: int = 20) -> Table:
    """The scopes that hold work back."""
    table = _table("closed", "lanes", "opens in")
    for gate in survey.gates[:most]:
        table.add_row(_gate(gate), str(gate.lanes), _opens(gate, usage))
    return table


def lanes_table(survey: Survey, *, most: int = 20) -> Table:
    """The lanes with work, the next to move first."""
    table = _table("priority", "lane of", "loop", "tasks", "held by")
    for waiting in survey.lanes[:most]:
        scopes = waiting.lane.scopes
        service = "/".join(filter(None, (scopes.service, scopes.endpoint))) or "-"
        table.add_row(str(waiting.lane.priority), service, scopes.loop or "-", str(waiting.tasks), waiting.parked_at or "ready")
    return table


def _gate(gate: ClosedGate) -> str:
    return gate.scope if gate.unit == Unit.REQUESTS else f"{gate.scope} ({gate.unit})"


def _opens(gate: ClosedGate, usage: Iterable[LimitUsage]) -> str:
    """When a gate opens. One whose slots are taken is tried again when they would lapse, and opens long before that."""
    slots = (each for each in usage if each.scope == gate.scope and each.limit.kind is LimitKind.IN_FLIGHT)
    if gate.opens_in_s > _NO_SLOT_LAPSES_S and any(each.remaining <= each.limit.reserved for each in slots):
        return "when work ends"
    return f"{gate.opens_in_s:.1f} s"


def _rule(limit: Limit) -> str:
    if limit.kind is LimitKind.BUCKET:
        return f"bursts of {limit.capacity}"
    return str(limit)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        is_number = column in _NUMBERS
        table.add_column(column, justify="right" if is_number else "left", header_style="dim", no_wrap=True)
    return table
