"""A refusal is what an exception says of a service that would not serve the call now, and when to come back.

The clients of HTTP services raise exceptions that carry the response (httpx, requests, openai, anthropic), or are it
(aiohttp, urllib).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

from .errors import RateLimited
from .headers import parse_headers

# Where a hook writes whose response it is.
_MARK = "turgor_service"
_STATUS_NAMES = ("status_code", "status", "code")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an exception says.

    Parameters
    ----------
    is_throttled:
        The call was refused for its rate: a 429, or what the service uses in its place, or `RateLimited`.
    retry_after_s:
        When it asks to be called again, in seconds; None if it does not say.
    service:
        Whose response it is, if a hook of ours has seen it; else `""`.
    is_ours:
        Our own limits refused it, and the service was not asked.
    """

    is_throttled: bool = False
    retry_after_s: float | None = None
    service: str = ""
    is_ours: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Refusal:
        """Read an exception. One that carries no response says nothing. Never raises."""
        if isinstance(error, RateLimited) and isfinite(error.decision.retry_after):
            return cls(is_throttled=True, retry_after_s=error.decision.retry_after, is_ours=True)
        response = getattr(error, "response", None)
        source: Any = error if response is None else response
        headers: Any = getattr(source, "headers", None)
        status = next((found for name in _STATUS_NAMES if type(found := getattr(source, name, None)) is int), None)
        if status is None or not hasattr(headers, "items"):
            return cls()
        try:
            said = parse_headers(headers.items(), status)
        except (TypeError, ValueError):  # whatever that is, it has no headers, and must not hide the error
            return cls()
        return cls(said.is_throttled, said.retry_after_s, getattr(source, _MARK, ""))


def mark_response(response: Any, service: str) -> None:
    """Write on a response whose it is, for `Refusal.of`."""
    setattr(response, _MARK, service)
