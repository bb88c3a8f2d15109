"""An outage is the time in which the server does not answer, and what becomes of the calls of a service then.

    closed    the call is refused: `ServerUnreachable`
    open      the call passes, unchecked
    local     the process keeps a share of each limit by itself

While it lasts, nobody but one prober a second waits for the server.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from .fork_safe_lock import ForkSafeLock
from .scope_table import DEFAULT_LOCAL_SHARE

if TYPE_CHECKING:
    from collections.abc import Callable

PROBE_S = 0.9
"""How often the server is asked whether it is back: a little less than the second within which it is used again."""


class OnUnreachable(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    LOCAL = "local"


class Policy(NamedTuple):
    """What becomes of a call while the server is away, and the share of `local`."""

    on_unreachable: OnUnreachable = OnUnreachable.CLOSED
    local_share: float = DEFAULT_LOCAL_SHARE

    @property
    def has_stand_in(self) -> bool:
        return self.on_unreachable is not OnUnreachable.CLOSED


CLOSED = Policy()


class Outage:
    """Whether the server is away, as one limiter last saw it. Threads may share it.

    Parameters
    ----------
    clock:
        Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = ForkSafeLock()
        self._is_on = False
        self._probed_s = 0.0

    @property
    def is_on(self) -> bool:
        return self._is_on

    def begin(self) -> bool:
        """The server did not answer. Whether that is news."""
        with self._lock:
            is_news, self._is_on, self._probed_s = not self._is_on, True, self._clock()
        return is_news

    def end(self) -> bool:
        """The server has answered. Whether that is news."""
        with self._lock:
            is_news, self._is_on = self._is_on, False
        return is_news

    def claims_probe(self) -> bool:
        """Whether the caller is the one who asks the server again."""
        with self._lock:
            is_due = self._is_on and self._clock() - self._probed_s >= PROBE_S
            if is_due:
                self._probed_s = self._clock()
        return is_due
