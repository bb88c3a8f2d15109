"""What the end of a task says of the service that it calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import states

from ..limits.outcome import Outcome

if TYPE_CHECKING:
    from celery.app.trace import TraceInfo


def outcome_of(info: TraceInfo | None) -> Outcome:
    """How the service did, from the end of a trace; None is the end of a task that returned.

    A task that was ignored or rejected says nothing. One that wants to run again says that the call failed if it
    names the exception (as `autoretry_for` does), and nothing if it does not: then it may be polling.
    """
    if info is None or info.state == states.SUCCESS:
        return Outcome.OK
    if info.state == states.FAILURE:
        return Outcome.FAILED
    if info.state == states.RETRY and getattr(info.retval, "exc", None) is not None:
        return Outcome.FAILED
    return Outcome.OPEN
