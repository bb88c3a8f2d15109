"""An observation is what a service said of its own limits in one response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .limit import Unit


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit, as the service counts it. None stands for what it did not say.

    Parameters
    ----------
    unit:
        What is counted.
    limit, remaining:
        Units that the service allows, and that it has left.
    reset_s:
        Seconds from the response until the service counts anew.
    """

    unit: Unit
    limit: int | None
    remaining: int | None
    reset_s: float | None


@dataclass(frozen=True, slots=True)
class Observation:
    """What one response said.

    Parameters
    ----------
    quotas:
        The limits that it named.
    retry_after_s:
        Seconds for which the service wants no call; None where it did not say.
    is_throttled:
        Whether the call was refused for its rate: a 429, or what the service uses in its place.
    """

    quotas: tuple[Quota, ...] = ()
    retry_after_s: float | None = None
    is_throttled: bool = False
