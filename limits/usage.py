"""Usage is how full the limits of a scope are at one moment: for a program, as response headers, as JSON.

usage = limiter.usage("service:llm_api")
response.headers.update(usage.headers())
log.info(usage.to_json())
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .limit import SECOND_US, LimitKind, Unit
from .notice import Notice, headers_of

if TYPE_CHECKING:
    from .limit import Limit


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """How full one limit is.

    Parameters
    ----------
    scope, limit:
        The limit, and whose it is.
    used:
        Units (for IN_FLIGHT: slots) that count now. More than the limit holds where tokens were spent above
        their estimate, or where the limit was lowered.
    remaining:
        Units (or slots) that are left.
    retry_after:
        Seconds until the cost that was asked for (one unit, in a `Usage`) fits, if nobody else takes units; 0.0 if it
        fits now. For IN_FLIGHT, until a slot lapses that is never given back.
    reset_after:
        Seconds until the limit is unused again; 0.0 for IN_FLIGHT, whose slots come back when work ends.
    shadowed:
        How often a shadow limit would have refused; forgotten a week after the last time.
    """

    scope: str
    limit: Limit
    used: int
    remaining: int
    retry_after: float
    reset_after: float
    shadowed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Numbers and text, ready for JSON; durations in seconds."""
        return {
            "scope": self.scope,
            "limit": self.limit.id,
            "kind": str(self.limit.kind),
            "unit": str(self.limit.unit),
            "capacity": self.limit.capacity,
            "period_s": self.limit.period_us / SECOND_US,
            "used": self.used,
            "remaining": self.remaining,
            "retry_after_s": self.retry_after,
            "reset_after_s": self.reset_after,
            "reserved": self.limit.reserved,
            "reserved_for": self.limit.reserved_for or None,
            "shadow": self.limit.shadow,
            "shadowed": self.shadowed,
        }

    def notice(self, name: str) -> Notice:
        """What response headers tell of it."""
        limit = self.limit
        if limit.kind is LimitKind.IN_FLIGHT:
            # When work ends and gives its slot back, nobody knows.
            return Notice(name, limit.capacity, self.remaining, "concurrent-requests")
        units_us = limit.capacity * limit.period_us / limit.refill if limit.kind is LimitKind.BUCKET else limit.period_us
        unit = str(limit.unit) if limit.unit is Unit.TOKENS else ""
        return Notice(name, limit.capacity, self.remaining, unit, units_us / SECOND_US, self.reset_after, self.retry_after)


class Usage(tuple[LimitUsage, ...]):
    """How full each limit is, in the order of the limits: a tuple of `LimitUsage`."""

    __slots__ = ()

    @property
    def binding(self) -> LimitUsage | None:
        """The limit with the smallest share of its capacity left, of several the one that is unused last; None without limits.

        A shadow never binds.
        """
        limits = (each for each in self if not each.limit.shadow)
        return min(limits, key=lambda each: (each.remaining / each.limit.capacity, -each.reset_after), default=None)

    def headers(self) -> dict[str, str]:
        """Response headers: `RateLimit-Policy` and `RateLimit` of every limit, `RateLimit-Limit`, `-Remaining` and `-Reset`
        of the one that binds, and `Retry-After` when nothing is left of one that comes back by time. Not of a shadow.
        """
        limits = [each for each in self if not each.limit.shadow]
        # One scope is whose response it is. Limits of several are told apart by their scopes.
        alone = len({each.scope for each in limits}) == 1
        return headers_of([each.notice(each.limit.id if alone else f"{each.scope} {each.limit.id}") for each in limits])

    def to_dict(self) -> dict[str, Any]:
        """`limits`, each as a dict, and `binding`, the name of the one that binds, such as `service:llm_api requests/1m`."""
        binding = self.binding
        name = None if binding is None else f"{binding.scope} {binding.limit.id}"
        return {"binding": name, "limits": [each.to_dict() for each in self]}

    def to_json(self) -> str:
        """`to_dict` as JSON on one line."""
        return json.dumps(self.to_dict())
