"""A scope table is one table of `limits.toml`: the limits of one scope, as they are written.

Rules that look at several keys are field validators, not model validators: pydantic runs them even
where another key of the table is wrong, so that one reading of the file reports every mistake. They rely
on the order of the fields: a validator sees the fields above its own, and only those that are valid.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, replace
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from .backlog_table import BacklogTable
from .breaker_table import AdaptiveSwitch, AdaptiveTable, BreakerSwitch
from .degradation import Degradation
from .duration import parse_duration
from .limit import SECOND_US, Limit, LimitKind, Unit, format_duration
from .priority_reserve import OptionalReserve, Reserve, refuse_whole_limits
from .retry_budget_table import RetryBudgetSwitch
from .scope_name import ScopeName

# Lua counts in doubles, which are exact up to 2**53 (9e15).
MAX_COUNT = 10**15
DEFAULT_LOCAL_SHARE = 0.1

_PERIODS_US = {
    "per_second": SECOND_US,
    "per_minute": 60 * SECOND_US,
    "per_hour": 3_600 * SECOND_US,
    "per_day": 86_400 * SECOND_US,
}
_RATE_KEYS = frozenset({"windows", *(f"requests_{key}" for key in _PERIODS_US)})


class BurstWithoutRateError(ValueError):
    """A burst capacity shapes a rate, and the table gives none. Add one, such as `requests_per_minute`."""


class Table(BaseModel):
    """What all tables share: they do not change, and a key that is not known is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Window(Table):
    """At most `limit` units in every stretch of `per`, wherever it starts.

    Parameters
    ----------
    limit:
        Requests or tokens, at least 1.
    per:
        A duration, as `parse_duration` reads it; kept in its shortest form (`"60s"` becomes `"1m"`).
    shadow:
        Whether it only counts and reports, and never holds anything back.
    """

    limit: Annotated[int, Field(ge=1, le=MAX_COUNT)]
    per: Annotated[str, BeforeValidator(lambda per: format_duration(parse_duration(per)))]
    shadow: bool = False

    @property
    def period_us(self) -> int:
        """The length of the window in microseconds."""
        return parse_duration(self.per)


class _Rate(NamedTuple):
    key: str
    limit: int
    period_us: int
    shadow: bool = False


def _rates(fields: Iterable[tuple[str, Any]]) -> list[_Rate]:
    """The rates that the fields of a table give, shortest period first."""
    found: list[_Rate] = []
    for key, value in fields:
        if key == "windows":
            found += (_Rate(f"windows[{at}].limit", each.limit, each.period_us, each.shadow) for at, each in enumerate(value))
        elif value is not None and (period_us := _PERIODS_US.get(key.removeprefix("requests_"))):
            found.append(_Rate(key, value, period_us))
    return sorted(found, key=lambda rate: rate.period_us)


def _refuse_repeats(windows: tuple[Window, ...], info: ValidationInfo) -> tuple[Window, ...]:
    """Two limits of one length in one unit would share an id, and only the lower could ever matter."""
    by_period: dict[int, list[str]] = {}
    for rate in _rates([*info.data.items(), ("windows", windows)]):
        by_period.setdefault(rate.period_us, []).append(rate.key.removesuffix(".limit"))
    repeats = [
        f"{format_duration(period_us)} is limited by {' and by '.join(keys)}; keep one of them"
        for period_us, keys in by_period.items()
        if len(keys) > 1
    ]
    if repeats:
        raise ValueError("\n".join(repeats))
    return windows


Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
# Strictness would refuse the lists of TOML and JSON for a tuple.
Windows = Annotated[tuple[Window, ...], Field(strict=False), AfterValidator(_refuse_repeats)]


class TokenLimits(Table):
    """Limits counted in tokens, as services for language models have them.

    Parameters
    ----------
    per_second, per_minute, per_hour, per_day:
        Tokens in every such stretch of time; None for no limit.
    windows:
        The same for stretches of any other length.
    estimate:
        What a task reserves that neither states its tokens nor has settled any yet. Limits nothing. At most the
        limit of every window; `DEFAULT_ESTIMATE` (1,000) where no scope of the task states one.
    """

    per_second: Count | None = None
    per_minute: Count | None = None
    per_hour: Count | None = None
    per_day: Count | None = None
    windows: Windows = ()
    estimate: Count | None = None

    @field_validator("estimate")
    @classmethod
    def _estimate_fits_every_rate(cls, estimate: int | None, info: ValidationInfo) -> int | None:
        lowest = min(_rates(info.data.items()), key=lambda rate: rate.limit, default=None)
        if estimate is not None and lowest is not None and estimate > lowest.limit:
            raise ValueError(
                f"{estimate} is above {lowest.key} = {lowest.limit}, so no task could reserve it; use at most {lowest.limit}"
            )
        return estimate

    def limits(self) -> tuple[Limit, ...]:
        """The limits that the table states, shortest period first."""
        return tuple(
            Limit(LimitKind.WINDOW, rate.limit, Unit.TOKENS, rate.period_us, shadow=rate.shadow) for rate in _rates(self)
        )


class ScopeTable(Table):
    """The limits of one scope.

    Parameters
    ----------
    requests_per_second, requests_per_minute, requests_per_hour, requests_per_day:
        Requests in every such stretch of time; None for no limit.
    windows:
        The same for stretches of any other length.
    burst_capacity:
        Requests that may be spent at once; they come back at the rate of the shortest window, and are a shadow
        if it is one. At most the limit of every window.
    max_in_flight:
        Tasks that may run at the same time.
    token_limits:
        Limits counted in tokens.
    shadow:
        Whether all limits of this table only count and report, and never hold anything back.
    backlog:
        How much of the scope's work may wait; see `BacklogTable`.
    reserve:
        A part of each limit of this table that is kept for high priorities; None for none.
    """

    requests_per_second: Count | None = None
    requests_per_minute: Count | None = None
    requests_per_hour: Count | None = None
    requests_per_day: Count | None = None
    windows: Windows = ()
    burst_capacity: Count | None = None
    max_in_flight: Count | None = None
    token_limits: TokenLimits = TokenLimits()
    shadow: bool = False
    backlog: BacklogTable | None = None
    reserve: OptionalReserve = None

    @field_validator("reserve")
    @classmethod
    def _reserve_leaves_something(cls, reserve: Reserve | None, info: ValidationInfo) -> Reserve | None:
        valid = {key: info.data[key] for key in cls.model_fields if key in info.data}
        a_limit_is_wrong = len(valid) < len(ScopeTable.model_fields) - 1
        if reserve is not None and not a_limit_is_wrong:
            refuse_whole_limits(reserve, ScopeTable.model_construct(**valid).limits())
        return reserve

    @field_validator("burst_capacity")
    @classmethod
    def _burst_fits_every_rate(cls, burst: int | None, info: ValidationInfo) -> int | None:
        if burst is None:
            return burst
        rates = _rates(info.data.items())
        a_rate_is_wrong = not info.data.keys() >= _RATE_KEYS
        if not rates and a_rate_is_wrong:
            return burst
        if not rates:
            raise BurstWithoutRateError(
                f"{burst} has no rate to shape; add one such as requests_per_minute, or remove burst_capacity"
            )
        lowest = min(rates, key=lambda rate: rate.limit)
        if burst > lowest.limit:
            raise ValueError(
                f"{burst} is above {lowest.key} = {lowest.limit}, so the burst could never be spent; use at most {lowest.limit}"
            )
        return burst

    def limits(self) -> tuple[Limit, ...]:
        """The limits that the table states: windows (shortest first), burst, in flight, tokens."""
        rates = _rates(self)
        found = [Limit(LimitKind.WINDOW, rate.limit, Unit.REQUESTS, rate.period_us, shadow=rate.shadow) for rate in rates]
        if self.burst_capacity is not None:
            pace = rates[0]
            found.append(Limit(LimitKind.BUCKET, self.burst_capacity, Unit.REQUESTS, pace.period_us, pace.limit, pace.shadow))
        if self.max_in_flight is not None:
            found.append(Limit(LimitKind.IN_FLIGHT, self.max_in_flight))
        found += self.token_limits.limits()
        if self.shadow:
            found = [replace(limit, shadow=True) for limit in found]
        return tuple(found if self.reserve is None else map(self.reserve.of, found))


# pydantic keeps the type of the mapping that it was given; a config keeps nothing of its source.
ScopeTables = Annotated[Mapping[ScopeName, ScopeTable], AfterValidator(dict)]


class ServiceTable(ScopeTable):
    """The limits of one service, and of its endpoints.

    Parameters
    ----------
    endpoints:
        Tables by endpoint; `"*"` is the template for each endpoint that is not named.
    breaker:
        Holds work while the service fails; `true` for the defaults.
    adaptive:
        Scales the service's own limits to what it really takes; `true` for the defaults.
    retry_budget:
        Retries of its tasks for each first attempt, such as 0.1, or a table; shared by all workers.
    degradation:
        What becomes of new work of the service while it is under pressure.
    on_unreachable:
        What becomes of a limiter's calls while Redis is away: `"closed"`, they are refused; `"open"`, they pass;
        `"local"`, each process keeps a share of each limit by itself. Tasks wait, whatever it says.
    local_share:
        The share of each limit that a process keeps, above 0 and at most 1.
    """

    endpoints: ScopeTables = {}
    on_unreachable: Literal["closed", "open", "local"] = "closed"
    local_share: Annotated[float, Field(gt=0, le=1)] = DEFAULT_LOCAL_SHARE

    @field_validator("local_share")
    @classmethod
    def _share_is_of_use(cls, share: float, info: ValidationInfo) -> float:
        if info.data.get("on_unreachable", "local") != "local":
            raise ValueError(f'{share:g} has no effect; add on_unreachable = "local", or remove local_share')
        return share

    breaker: BreakerSwitch = None
    adaptive: AdaptiveSwitch = None
    retry_budget: RetryBudgetSwitch = None
    degradation: Degradation = ()

    @field_validator("degradation")
    @classmethod
    def _steps_can_be_reached(cls, steps: Degradation, info: ValidationInfo) -> Degradation:
        if "breaker" in info.data and info.data["breaker"] is None and any(step.breaker for step in steps):
            raise ValueError("the service has no breaker that could open; add breaker = true, or use wait instead")
        return steps

    @field_validator("adaptive")
    @classmethod
    def _adaptive_has_something_to_scale(cls, adaptive: AdaptiveTable | None, info: ValidationInfo) -> AdaptiveTable | None:
        valid = {key: info.data[key] for key in ScopeTable.model_fields if key in info.data}
        a_limit_is_wrong = len(valid) < len(ScopeTable.model_fields)
        if adaptive is not None and not a_limit_is_wrong and not ScopeTable.model_construct(**valid).limits():
            raise ValueError("there is no limit to scale; add one such as requests_per_minute, or remove adaptive")
        return adaptive

    def governors(self) -> dict[str, tuple[float, ...]]:
        """The parameters of breaker, adaptive share and retry budget, as far as they are on; times in microseconds."""
        found: dict[str, tuple[float, ...]] = {}
        if self.breaker is not None:
            found["breaker"] = astuple(self.breaker.breaker())
        if self.adaptive is not None:
            found["adaptive"] = astuple(self.adaptive.share())
        if self.retry_budget is not None:
            found["retry_budget"] = astuple(self.retry_budget.budget())
        return found
