"""A decision is the one answer of every limiter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .duration import parse_duration
from .limit import SECOND_US, Unit
from .quota import Quota, headers_of


class Source(StrEnum):
    """Who decided: the server; this process, by its share; nobody, and the call passed."""

    REDIS = "redis"
    LOCAL = "local"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a limiter said, and why.

    Parameters
    ----------
    allowed:
        Whether the units were charged. A refusal charges nothing, at any level.
    remaining:
        Units left under the limit that binds (the one with the least left, or that refused).
    retry_after:
        Seconds until the same request can pass if nobody else takes units; 0.0 when allowed,
        `inf` when it can never pass (it costs more than the limit holds). Of a pause nobody knows
        the end: look again after so long.
    reset_after:
        Seconds until the binding limit is unused again.
    scope, limit:
        The scope and the id of the limit that binds, such as `service:llm_api` and `requests/1m`;
        `""` where no limit applies. In the place of a limit, what else holds the scope: `paused`,
        `closed`, `reopening`.
    capacity:
        Units that the binding limit holds; 0 where no limit applies, and where it is none that refused.
    source:
        Who decided: `redis`, or while that was out of reach `local` or `open`.
    """

    allowed: bool
    remaining: int = 0
    retry_after: float = 0.0
    reset_after: float = 0.0
    scope: str = ""
    limit: str = ""
    capacity: int = 0
    source: Source = Source.REDIS

    @property
    def binding(self) -> str:
        """The limit that binds, ready to print: `service:llm_api requests/1m`."""
        return f"{self.scope} {self.limit}".strip()

    def headers(self) -> dict[str, str]:
        """Response headers of the limit that binds, as `Usage.headers` has them; none where no limit applies.

        `Retry-After` is there after a refusal, unless the request can never pass or waits for a slot in flight.
        """
        return headers_of([self._quota()] if self.limit else [])

    def _quota(self) -> Quota:
        counted, _, period = self.limit.partition("/")
        if self.limit == "in_flight":
            return Quota(self.limit, self.capacity, self.remaining, "concurrent-requests")
        unit = counted if counted == Unit.TOKENS else ""
        return Quota(self.limit, self.capacity, self.remaining, unit, _seconds(period), self.reset_after, self.retry_after)


def _seconds(period: str) -> float | None:
    try:
        return parse_duration(period) / SECOND_US
    except ValueError:
        # A bucket states no period, and a window made of a `Limit` may be shorter than text can say.
        return None
