"""A quota is what response headers tell a client of one limit.

    RateLimit-Policy: "requests/1m";q=60;w=60, "in_flight";q=8;qu="concurrent-requests"
    RateLimit: "requests/1m";r=56;t=49, "in_flight";r=5

Source: draft-ietf-httpapi-ratelimit-headers, revision 10, whose fields are lists of structured fields (RFC 9651). The
triple `RateLimit-Limit`, `-Remaining`, `-Reset` is that of its revisions up to 6, which most clients read; it tells of
the quota that binds alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST = 10**15 - 1
"""The largest integer of a structured field."""
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit, as a client needs to know it.

    Parameters
    ----------
    name:
        Tells it from other quotas of the same response.
    capacity, remaining:
        Units.
    unit:
        What is counted, where it is not requests.
    window_s:
        Seconds in which the capacity can be spent once; None where it does not come back by time.
    reset_after:
        Seconds until it is unused; None where nobody knows.
    retry_after:
        Seconds until the next request can pass; 0.0 if it can now, or if nobody knows.
    """

    name: str
    capacity: int
    remaining: int
    unit: str = ""
    window_s: float | None = None
    reset_after: float | None = None
    retry_after: float = 0.0

    @property
    def share(self) -> float:
        """How much of it is left, from 0 to 1."""
        return self.remaining / self.capacity if self.capacity else 0.0

    @property
    def policy(self) -> str:
        """Its item of `RateLimit-Policy`."""
        unit = f";qu={_string(self.unit)}" if self.unit else ""
        window = "" if self.window_s is None else f";w={_seconds(self.window_s)}"
        return f"{_string(self.name)};q={_integer(self.capacity)}{unit}{window}"

    @property
    def state(self) -> str:
        """Its item of `RateLimit`."""
        reset = "" if self.reset_after is None else f";t={_seconds(self.reset_after)}"
        return f"{_string(self.name)};r={_integer(self.remaining)}{reset}"


def headers_of(quotas: Sequence[Quota]) -> dict[str, str]:
    """Response headers that tell of all of them; none where there are none.

    `Retry-After` is there when the next request would be refused, and it is known until when. It is alone where what
    refuses is no limit: a scope is paused, or closed.
    """
    if not quotas:
        return {}
    if not any(quota.capacity for quota in quotas):
        return _retry_after(quotas)
    binding = min(quotas, key=lambda quota: (quota.share, -(quota.reset_after or 0.0)))
    headers = {
        "RateLimit-Policy": ", ".join(quota.policy for quota in quotas),
        "RateLimit": ", ".join(quota.state for quota in quotas),
        "RateLimit-Limit": str(_integer(binding.capacity)),
        "RateLimit-Remaining": str(_integer(binding.remaining)),
    }
    if binding.reset_after is not None:
        headers["RateLimit-Reset"] = str(_seconds(binding.reset_after))
    return headers | _retry_after(quotas)


def _retry_after(quotas: Sequence[Quota]) -> dict[str, str]:
    retry_after = max(quota.retry_after for quota in quotas)
    return {"Retry-After": str(_seconds(retry_after))} if 0 < retry_after < math.inf else {}


def _seconds(seconds: float) -> int:
    # Rounded up: a client that comes back a fraction too early is refused again.
    return _integer(math.ceil(seconds))


def _integer(number: int) -> int:
    return min(max(0, number), _LARGEST)


def _string(text: str) -> str:
    """A string of a structured field, which is ASCII; other characters are percent-encoded."""
    encoded = quote(text, safe=_PRINTABLE)
    return '"' + encoded.replace("\\", "\\\\").replace('"', '\\"') + '"'
