"""A reserve is the part of each limit of a table that is kept for high priorities.

    [services.llm_api]
    requests_per_minute = 60
    reserve = { share = 0.2, priority = "HIGH" }

Work below the priority is held back where less than that part would be left, and work from it on may use all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict

from .priority import StatedPriority
from .quotation import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .limit import Limit

A_RESERVE = 'a table, such as { share = 0.2, priority = "HIGH" }'


def _share(value: object) -> float:
    # A bool is an int to Python. Also false for NaN, which no comparison holds for.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError(f"{quote(value)} is not allowed; use a share above 0 and below 1")
    return float(value)


def _table(value: object) -> object:
    if not isinstance(value, Mapping | Reserve):
        raise ValueError(f"{quote(value)} is not allowed; use {A_RESERVE}")  # noqa: TRY004  pydantic lists no TypeError
    return cast("object", value)


class Reserve(BaseModel):
    """What high priorities have for themselves.

    Parameters
    ----------
    share:
        The part of each limit, above 0 and below 1; rounded up to whole units.
    priority:
        Who may use it: this priority and above, 1 to 9 or by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    share: Annotated[float, BeforeValidator(_share)]
    priority: StatedPriority

    def units_of(self, capacity: int) -> int:
        """How many of the capacity's units are reserved."""
        # 0.2 stands for the number that was written, and not for the double next to it.
        return math.ceil(capacity * Fraction(str(self.share)))

    def of(self, limit: Limit) -> Limit:
        """The limit with its reserve."""
        return replace(limit, reserved=self.units_of(limit.capacity), reserved_for=self.priority)


OptionalReserve = Annotated[Reserve | None, BeforeValidator(_table)]
"""The type of a field that may have one. In a file `null` cannot be written."""


def refuse_whole_limits(reserve: Reserve, limits: Sequence[Limit]) -> None:
    """Raise `ValueError` where the reserve has no limit to be a part of, or leaves nothing below its priority."""
    if not limits:
        raise ValueError("there is no limit to keep a part of; add one such as requests_per_minute, or remove reserve")
    for limit in limits:
        if reserve.units_of(limit.capacity) >= limit.capacity:
            raise ValueError(
                f"a share of {reserve.share:g} is all of {limit}, so work below the priority could never run; "
                "use a smaller share, or raise the limit"
            )
