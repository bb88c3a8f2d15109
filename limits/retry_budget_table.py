"""A retry budget table is what a service table says of how much of its load may be retries.

    [services.llm_api]
    retry_budget = 0.1                   # or a table { ratio = 0.1, window = "1m", minimum = 10 }

Off by default.
"""

from typing import Annotated

from pydantic import BeforeValidator

from .breaker_table import Duration, GovernorTable, count_up_to
from .duration import parse_duration
from .quotation import quote
from .retry_budget import RetryBudget

_MAX_MINIMUM = 10**9
_MAX_RATIO = 100


def _ratio(value: object) -> float:
    # A bool is an int to Python. Also false for NaN, which no comparison holds for.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MAX_RATIO:
        raise ValueError(f"{quote(value)} is not allowed; use retries for each first attempt, such as 0.1, at most {_MAX_RATIO}")
    return float(value)


def _switch(value: object) -> object:
    """A number is the ratio, `true` a table of defaults, `false` none."""
    if isinstance(value, bool):
        return {} if value else None
    return {"ratio": value} if isinstance(value, int | float) else value


class RetryBudgetTable(GovernorTable):
    """How many retries a service's tasks get altogether; see `RetryBudget`.

    Parameters
    ----------
    ratio:
        Retries for each first attempt.
    window:
        How far back both count.
    minimum:
        Retries of a window that are granted in any case.
    """

    ratio: Annotated[float, BeforeValidator(_ratio)] = 0.1
    window: Duration = "1m"
    minimum: Annotated[int, count_up_to(_MAX_MINIMUM)] = 10

    def budget(self) -> RetryBudget:
        """The algorithm with these parameters."""
        return RetryBudget(self.ratio, parse_duration(self.window), self.minimum)


RetryBudgetSwitch = Annotated[RetryBudgetTable | None, BeforeValidator(_switch)]
