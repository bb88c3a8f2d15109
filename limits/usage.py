"""Usage is how full one limit is at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .limit import Limit


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """How full one limit is.

    Parameters
    ----------
    scope, limit:
        The limit, and whose it is.
    remaining:
        Units (for IN_FLIGHT: slots) that are left.
    retry_after:
        Seconds until the cost that was asked for fits, if nobody else takes units; 0.0 if it fits now.
    reset_after:
        Seconds until the limit is unused again; 0.0 for IN_FLIGHT, whose slots come back when work ends.
    shadowed:
        How often a shadow limit would have refused; forgotten a week after the last time.
    """

    scope: str
    limit: Limit
    remaining: int
    retry_after: float
    reset_after: float
    shadowed: int = 0
