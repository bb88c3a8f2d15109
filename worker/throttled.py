"""`raise Throttled(retry_after=…)` in a task: its service refused the call for its rate.

    @app.task(service="llm_api")
    def complete(prompt):
        response = client.post(…)
        if response.status_code == 429:
            raise Throttled(retry_after=float(response.headers["Retry-After"]))

The scope of the task (its endpoint if it has one, or else its service) is closed for everybody, and the task
waits at the head of its lane until it opens. No attempt is spent, and nothing is reported as a failure.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celery import Task, states
from celery.app.task import Context
from celery.app.trace import TraceInfo, trace_ok_t
from celery.exceptions import Ignore

from ..limits.errors import TurgorError
from ..limits.throttling import retry_after_s

if TYPE_CHECKING:
    from collections.abc import Mapping


class Throttled(TurgorError, Ignore):
    """The service refused the call for its rate (429).

    It is an `Ignore` to Celery, so that neither `autoretry_for` nor the result backend takes it for a failure.

    Parameters
    ----------
    retry_after:
        How long the service wants to be left alone: seconds, a timedelta, or None if it did not say (then it is
        a second); at most a day.

    Raises
    ------
    TypeError
        `retry_after` is something else.
    """

    def __init__(self, retry_after: float | timedelta | None = None) -> None:
        self.retry_after_s = retry_after_s(retry_after)
        super().__init__(self.retry_after_s)

    def __str__(self) -> str:
        return f"throttled for {self.retry_after_s:g} s"


class NothingToClose(TurgorError):
    """A task raised `Throttled`, and no service of the limits is known to be its own. Give the task its `service`."""

    def __init__(self, task: str) -> None:
        self.task = task
        super().__init__(task)

    def __str__(self) -> str:
        return (
            f"task {self.task!r} raised Throttled, but it runs for no service that the limits name, so there is nothing to "
            "close and nowhere to wait: give the task a service, as @app.task(service=…) or in the table [tasks]"
        )


def throttled_in(outcome: Any) -> Throttled | None:
    """The `Throttled` that ended a trace, if one did."""
    info: TraceInfo | None = outcome[1]
    return info.retval if info is not None and isinstance(info.retval, Throttled) else None


def fail_unclosable(task: Task, args: Any, kwargs: Any, request: Mapping[str, Any] | None, throttled: Throttled) -> Any:
    """The end of a task that was throttled where nothing can be closed: a failure, as Celery reports any other."""
    context = Context(request or {}, args=args, called_directly=False, kwargs=kwargs)
    try:
        raise NothingToClose(task.name) from throttled
    except NothingToClose as error:
        info = TraceInfo(states.FAILURE, error)
        return trace_ok_t(info.handle_error_state(task, context), info, 0.0, None)
