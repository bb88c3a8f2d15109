"""Limit options are the words of one table of `limits.toml`, as keyword arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from .config import LimitsConfig
from .errors import ConfigError
from .limit import LimitKind, Unit
from .outage import OnUnreachable, Policy
from .scope import GLOBAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from .limit import Limit
    from .scope_table import TokenLimits, Window

    WindowOption: TypeAlias = Window | Mapping[str, int | float | str | timedelta]


class LimitOptions(TypedDict, total=False):
    """Limits of one scope, in the words of `limits.toml`; see `ScopeTable`."""

    requests_per_second: int
    requests_per_minute: int
    requests_per_hour: int
    requests_per_day: int
    windows: Sequence[WindowOption]
    burst_capacity: int
    max_in_flight: int
    token_limits: TokenLimits | Mapping[str, int | Sequence[WindowOption]]
    shadow: bool


def stated_limits(limits: Iterable[Limit], options: Mapping[str, Any]) -> tuple[Limit, ...]:
    """The limits, given one way or the other.

    Raises
    ------
    ConfigError
        Limits given both ways or not at all, or not valid. One line per mistake.
    """
    limits = tuple(limits)
    if "backlog" in options:
        raise ConfigError(["backlog: calls outside tasks do not wait there; remove it, or set it in the limits of the tasks"])
    if limits and options:
        raise ConfigError([f"limits: give either a tuple of limits or {', '.join(options)}, not both"])
    if not limits:
        if misplaced := [key for key in ("reserve", "priority_ageing") if key in options]:
            raise ConfigError([f"{misplaced[0]}: one limit alone knows no priorities; use HierarchicalLimiter, or remove it"])
        try:
            limits = LimitsConfig.load({GLOBAL: dict(options)}).global_.limits()
        except ConfigError as error:
            raise ConfigError(problem.removeprefix(f"{GLOBAL}.") for problem in error.problems) from None
    if not limits:
        raise ConfigError(["limits: none is given; add one such as requests_per_minute=60"])
    if problems := [*_problems(limits)]:
        raise ConfigError(problems)
    return limits


def stated_policy(on_unreachable: str, local_share: float | None) -> Policy:
    """The policy, in the words of `limits.toml`.

    Raises
    ------
    ConfigError
        A word or the share is not possible.
    """
    table = {"on_unreachable": on_unreachable} | ({} if local_share is None else {"local_share": local_share})
    try:
        stated = LimitsConfig.load({"services": {"x": table}}).services["x"]
    except ConfigError as error:
        raise ConfigError(problem.removeprefix("services.x.") for problem in error.problems) from None
    return Policy(OnUnreachable(stated.on_unreachable), stated.local_share)


def _problems(limits: Sequence[Limit]) -> Iterable[str]:
    seen: set[str] = set()
    for at, limit in enumerate(limits):
        if limit.capacity < 1:
            yield f"limits[{at}].capacity: {limit.capacity} is not allowed; use a whole number of at least 1"
        if limit.kind is not LimitKind.IN_FLIGHT and limit.period_us < 1:
            yield f"limits[{at}].period_us: {limit.period_us} is not allowed; use microseconds, at least 1"
        if limit.kind is LimitKind.BUCKET and limit.refill < 1:
            yield f"limits[{at}].refill: {limit.refill} is not allowed; use units per period_us, at least 1"
        if limit.kind is LimitKind.IN_FLIGHT and limit.unit is not Unit.REQUESTS:
            yield f"limits[{at}].unit: {limit.unit} is not allowed; what is in flight is counted in requests"
        if limit.id in seen:
            yield f"limits[{at}]: {limit.id} is there twice; keep one of them"
        seen.add(limit.id)
