"""Advice on limits that are valid and of no use: those that can never bind.

A window of n per p admits at most ceil(P / p) n units in any stretch of P, since so many stretches of p cover it. If
that is no more than a second window's limit, the second one never refuses. The stretch is taken 1% longer, because a
sliding window forgets a unit up to 1% late (`sliding_window.py`); two of one length forget alike. What is said is sure; what is not sure is not said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .limit import Limit, LimitKind, Unit, format_duration
from .quotation import quote_path
from .scope import GLOBAL
from .scope_table import ScopeTable
from .sliding_window import CELLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .config import LimitsConfig

_COUNTS = {1_000_000: "per_second", 60_000_000: "per_minute", 3_600_000_000: "per_hour", 86_400_000_000: "per_day"}


@dataclass(frozen=True, slots=True)
class _Placed:
    """A limit, the table of the file that states it, and its key there."""

    path: tuple[str, ...]
    key: str
    limit: Limit

    @property
    def name(self) -> str:
        return quote_path((*self.path, *self.key.split(".")))


def advice(config: LimitsConfig) -> list[str]:
    """One line for each limit that can never bind: `path: what is wrong; what to do`."""
    found: list[str] = []
    for path, table, wider in _tables(config):
        own = _placed(path, table)
        above = [each for wide_path, wide in wider for each in _placed(wide_path, wide)]
        found += (line for each in own if (line := _useless(each, [other for other in own if other != each], above)))
    return found


def _tables(config: LimitsConfig) -> Iterator[tuple[tuple[str, ...], ScopeTable, list[tuple[tuple[str, ...], ScopeTable]]]]:
    """Each scope's table, with those of the scopes that all its work belongs to as well."""
    whole = ((GLOBAL,), config.global_)
    yield (*whole, [])
    for service, table in config.services.items():
        path = ("services", service)
        yield path, table, [whole]
        for endpoint, inner in table.endpoints.items():
            yield (*path, "endpoints", endpoint), inner, [(path, table), whole]
    for kind, tables in (("loop_types", config.loop_types), ("loops", config.loops)):
        for name, table in tables.items():
            yield (kind, name), table, [whole]


def _placed(path: tuple[str, ...], table: ScopeTable) -> list[_Placed]:
    return [_Placed(path, _key(table, limit), limit) for limit in table.limits()]


def _key(table: ScopeTable, limit: Limit) -> str:
    if limit.kind is LimitKind.IN_FLIGHT:
        return "max_in_flight"
    if limit.kind is LimitKind.BUCKET:
        return "burst_capacity"
    count = _COUNTS.get(limit.period_us)
    in_tokens = limit.unit is Unit.TOKENS
    key = f"token_limits.{count}" if in_tokens else f"requests_{count}"
    stated = count and getattr(table.token_limits if in_tokens else table, key.rpartition(".")[2], None)
    return key if stated else f"{'token_limits.' if in_tokens else ''}windows"


def _useless(one: _Placed, beside: list[_Placed], above: list[_Placed]) -> str:
    # Of two limits that imply each other only one is of no use: the one that is stated deeper.
    for other in beside:
        if _implies(other.limit, one.limit) and not (_implies(one.limit, other.limit) and one.key < other.key):
            return _line(one, other, other.key)
    for other in above:
        if _implies(other.limit, one.limit):
            return _line(one, other, other.name)
    return ""


def _line(one: _Placed, other: _Placed, shown: str) -> str:
    return (
        f"{one.name}: {_number(one.limit)} can never bind, because {shown} = {_number(other.limit)} is tighter; "
        "remove it or lower it"
    )


def _number(limit: Limit) -> str:
    return (
        str(limit.capacity) if limit.kind is not LimitKind.WINDOW else f"{limit.capacity} in {format_duration(limit.period_us)}"
    )


def _implies(tight: Limit, loose: Limit) -> bool:
    """Whether whatever `tight` admits, `loose` would admit as well."""
    # A shadow limit holds nothing, and one that would never hold anything says so in its count.
    if tight.unit is not loose.unit or tight.shadow or loose.shadow:
        return False
    match tight.kind, loose.kind:
        case LimitKind.IN_FLIGHT, LimitKind.IN_FLIGHT:
            return tight.capacity <= loose.capacity
        case LimitKind.WINDOW, LimitKind.WINDOW:
            if tight.period_us == loose.period_us:
                return tight.capacity <= loose.capacity
            stretch_us = loose.period_us * (CELLS + 1)
            return -(-stretch_us // (tight.period_us * CELLS)) * tight.capacity <= loose.capacity
        case LimitKind.WINDOW, LimitKind.BUCKET:
            # n in every p never owe more than n + n t / p, which is what the bucket allows.
            is_slower = tight.capacity * loose.period_us <= loose.refill * tight.period_us
            return tight.capacity <= loose.capacity and is_slower
        case _:
            return False
