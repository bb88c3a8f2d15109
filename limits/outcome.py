"""An outcome is how a call of a service ended, as breakers and adaptive limits count it."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a call ended.

    OPEN: it has not ended, or its end says nothing of the service (it was revoked, or never ran).
    OK: the service answered. THROTTLED: it refused the call for its rate (429), which is no failure.
    FAILED: it did not answer, or answered with an error.

    Source of the kinds: Netflix concurrency-limits, whose listener takes success, ignore and dropped. A throttled
    call is one kind more, because a breaker must not count what an adaptive limit lives on.
    """

    OPEN = "open"
    OK = "ok"
    THROTTLED = "throttled"
    FAILED = "failed"
