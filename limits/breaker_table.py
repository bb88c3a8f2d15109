"""Breaker tables and adaptive tables are what a service table says of services that fail, or take less than they state.

    [services.llm_api]
    breaker = true                       # or a table [services.llm_api.breaker]
    adaptive = { recovery = "10m" }      # or true

Both are off by default.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from .adaptive import AdaptiveShare
from .breaker import Breaker
from .duration import parse_duration
from .limit import format_duration
from .quotation import quote

_MAX_PROBES = 1_000
_MAX_CALLS = 10**9


def _share(value: object) -> float:
    # A bool is an int to Python. Also false for NaN, which no comparison holds for.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(f"{quote(value)} is not allowed; use a share above 0, at most 1")
    return float(value)


def _below_one(share: float) -> float:
    if share >= 1:
        raise ValueError(f"{quote(share)} is not allowed; use a share above 0 and below 1")
    return share


def count_up_to(most: int) -> Any:
    def check(value: object) -> object:
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(f"{quote(value)} is not allowed; use a whole number from 1 to {most}")
        return value

    return BeforeValidator(check)


def _switch(value: object) -> object:
    """`true` stands for a table of defaults, and `false` for none."""
    if value is True:
        return {}
    return None if value is False else value


Share = Annotated[float, BeforeValidator(_share)]
Duration = Annotated[str, BeforeValidator(lambda value: format_duration(parse_duration(value)))]


class GovernorTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BreakerTable(GovernorTable):
    """When a service's circuit breaker opens, and how it closes; see `Breaker`.

    Parameters
    ----------
    failure_ratio:
        The share of failures among the calls of the window that opens it.
    minimum_calls:
        Calls that the window must hold before the share means anything.
    window:
        How far back calls count.
    cool_down, max_cool_down:
        How long it stays open at first, and at most: each trip that follows soon doubles it.
    probes:
        Calls that must succeed to close it; no more than these are let through meanwhile.
    ramp:
        How long the limits take to come back in full.
    """

    failure_ratio: Share = 0.5
    minimum_calls: Annotated[int, count_up_to(_MAX_CALLS)] = 20
    window: Duration = "30s"
    cool_down: Duration = "10s"
    max_cool_down: Annotated[Duration, Field(validate_default=True)] = "5m"
    probes: Annotated[int, count_up_to(_MAX_PROBES)] = 3
    ramp: Duration = "30s"

    @field_validator("max_cool_down")
    @classmethod
    def _cool_down_grows(cls, longest: str, info: ValidationInfo) -> str:
        first = info.data.get("cool_down")
        if first is not None and parse_duration(longest) < parse_duration(first):
            raise ValueError(f"{quote(longest)} is shorter than cool_down = {quote(first)}; use at least {quote(first)}")
        return longest

    def breaker(self) -> Breaker:
        """The algorithm with these parameters."""
        return Breaker(
            self.failure_ratio,
            self.minimum_calls,
            parse_duration(self.window),
            parse_duration(self.cool_down),
            parse_duration(self.max_cool_down),
            self.probes,
            parse_duration(self.ramp),
        )


class AdaptiveTable(GovernorTable):
    """How a service's limits follow what it really takes; see `AdaptiveShare`.

    Parameters
    ----------
    floor:
        The least share of the limits that is left.
    decrease:
        What the share is multiplied by when calls are throttled or fail.
    recovery:
        How long calls must succeed for the share to grow by a whole limit.
    reaction:
        At most one decrease in this time. As long as the service's own window, if it does not say when to come back.
    """

    floor: Share = 0.1
    decrease: Annotated[Share, AfterValidator(_below_one)] = 0.7
    recovery: Duration = "5m"
    reaction: Duration = "5s"

    def share(self) -> AdaptiveShare:
        """The algorithm with these parameters."""
        return AdaptiveShare(self.floor, self.decrease, parse_duration(self.recovery), parse_duration(self.reaction))


BreakerSwitch = Annotated[BreakerTable | None, BeforeValidator(_switch)]
AdaptiveSwitch = Annotated[AdaptiveTable | None, BeforeValidator(_switch)]
