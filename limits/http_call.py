"""An HTTP call as the hooks for httpx and requests see it: whose it is, what it costs, and how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

R = TypeVar("R")
Text: TypeAlias = str | Callable[[R], str]

NAMES = ("service", "endpoint", "loop_type", "loop", "weight", "tokens", "priority", "timeout")
log = logging.getLogger(__name__)


class CallNaming(Generic[R]):
    """Says for each request whose call it is.

    Parameters
    ----------
    service:
        The service, or a function of the request that names it; None from it: the request is not limited at all.
    endpoint, loop_type, loop:
        The same, for the other scopes; `""` for none.
    tokens:
        An estimate, or a function of the request that makes one.
    timeout:
        Seconds that a call may wait for its limits; None or 0: not at all.
    """

    def __init__(
        self,
        *,
        service: str | Callable[[R], str | None],
        endpoint: Text[R],
        loop_type: Text[R],
        loop: Text[R],
        tokens: int | Callable[[R], int],
        timeout: float | None,
    ) -> None:
        self._given: dict[str, Any] = {
            "service": service,
            "endpoint": endpoint,
            "loop_type": loop_type,
            "loop": loop,
            "tokens": tokens,
            "timeout": timeout,
        }

    def call_of(self, request: R, options: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """What `acquire` takes; None where the request is not limited. `options` of one request win.

        Raises
        ------
        TypeError
            An option has no such name.
        """
        asked = {**self._given, **(options or {})}
        if unknown := asked.keys() - set(NAMES):
            raise TypeError(f"turgor: unknown option {min(unknown)!r}; use {', '.join(NAMES)}")
        call = {name: value(request) if callable(value) else value for name, value in asked.items()}
        if call["service"] is None:
            return None
        if not call["timeout"]:
            del call["timeout"]
        return call


def is_failure(status: int) -> bool:
    """Whether the service failed. Its other refusals (4xx) are answers."""
    return status >= 500


def tokens_in(response: Any, tokens_of: Callable[[Any], int | None]) -> int | None:
    """What the response says that the call cost; None where it does not, or where the reader fails."""
    try:
        return tokens_of(response)
    except Exception as error:  # noqa: BLE001 - the call is done, and a reader's mistake must not lose its response
        log.warning("tokens_of failed, so the estimate stays charged: %r", error)
        return None
