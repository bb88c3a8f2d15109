"""A degradation is what becomes of new work of a service that is under pressure.

    [services.llm_api]
    degradation = [
        { breaker = "open", degrade_to = "proj.tasks.cached" },
        { wait = "5m", shed_below = "NORMAL" },
        { backlog = 0.5, below = "HIGH", degrade_to = "proj.tasks.cheap" },
    ]

The steps are asked in their order, and the first that applies decides. Where none does, work waits for its limits as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .breaker_table import Duration, Share
from .duration import parse_duration
from .limit import SECOND_US
from .priority import StatedPriority, name_of
from .quotation import quote

_WORTH_SAYING = 0.01
TRIGGERS = ("wait", "backlog", "breaker")
ACTIONS = ("shed_below", "degrade_to", "hold")


@dataclass(frozen=True, slots=True)
class Pressure:
    """What work like a given task meets at its service, at one moment.

    Parameters
    ----------
    wait_s:
        Seconds that it is expected to wait; None where nobody knows, because the service is held or its slots are taken.
    backlog:
        How full the fullest backlog of its scopes is, 1.0 for as much as the cap allows; 0.0 without a cap.
    opens_in_s:
        Seconds until its open breaker lets probes through; 0.0 if it is not open.
    """

    wait_s: float | None = 0.0
    backlog: float = 0.0
    opens_in_s: float = 0.0

    @property
    def retry_after_s(self) -> float:
        """When it makes sense to come again, in seconds; a second if nothing tells."""
        return self.opens_in_s or self.wait_s or 1.0

    def __str__(self) -> str:
        if self.opens_in_s:
            return f"its breaker is open for {self.opens_in_s:.1f} s more"
        wait = "nobody knows for how long" if self.wait_s is None else f"{self.wait_s:.1f} s"
        filled = f", with a backlog that is {self.backlog:.0%} full" if self.backlog >= _WORTH_SAYING else ""
        return f"work like this waits {wait}{filled}"


class DegradationStep(BaseModel):
    """At such a pressure, do this.

    Parameters
    ----------
    wait, backlog, breaker:
        When: one of a duration that work is expected to wait at least, a share of a backlog that is filled at least,
        or `"open"`.
    shed_below, degrade_to, hold:
        What: one of refusing work below a priority at its submit, submitting another task in its place with the same
        arguments (by name), or letting it wait whatever later steps say.
    below:
        Only for work below this priority, where it is not shed; None for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    wait: Duration | None = None
    backlog: Share | None = None
    breaker: Literal["open"] | None = None
    shed_below: StatedPriority | None = None
    degrade_to: Annotated[str, Field(min_length=1)] | None = None
    hold: Literal[True] | None = None
    below: StatedPriority | None = None

    @model_validator(mode="after")
    def _says_when_and_what(self) -> DegradationStep:
        _exactly_one(self, TRIGGERS, "when")
        _exactly_one(self, ACTIONS, "what to do")
        if self.below is not None and self.shed_below is not None:
            raise ValueError("below and shed_below say the same; keep shed_below alone")
        return self

    def applies(self, pressure: Pressure, priority: int) -> bool:
        """Whether it decides for work of this priority."""
        below = self.below if self.shed_below is None else self.shed_below
        return self._is_reached(pressure) and (below is None or priority < below)

    def _is_reached(self, pressure: Pressure) -> bool:
        if self.breaker is not None:
            return pressure.opens_in_s > 0
        if self.backlog is not None:
            return pressure.backlog >= self.backlog
        return pressure.wait_s is not None and pressure.wait_s * SECOND_US >= parse_duration(self.wait or "0s")

    def __str__(self) -> str:
        when = next(f"{key} = {quote(value)}" for key in TRIGGERS if (value := getattr(self, key)) is not None)
        if self.shed_below is not None:
            return f"{when}: shed below {name_of(self.shed_below)}"
        only = f" below {name_of(self.below)}" if self.below is not None else ""
        return f"{when}: hold{only}" if self.hold else f"{when}: degrade to {self.degrade_to}{only}"


def _exactly_one(step: DegradationStep, keys: Sequence[str], question: str) -> None:
    given = [key for key in keys if getattr(step, key) is not None]
    if len(given) != 1:
        found = f"{' and '.join(given)} are too many" if given else f"it does not say {question}"
        raise ValueError(f"{found}; use exactly one of {', '.join(keys)}")


def step_for(steps: Sequence[DegradationStep], pressure: Pressure, priority: int) -> DegradationStep | None:
    """The step that decides for work of this priority; None lets it wait as ever."""
    return next((step for step in steps if step.applies(pressure, priority)), None)


Degradation: TypeAlias = Annotated[tuple[DegradationStep, ...], Field(strict=False)]
"""The type of a field of steps, in the order in which they are asked."""
