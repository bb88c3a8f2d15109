"""Reports the ends of tasks that their own process cannot report: revoked, timed out, lost, unknown here.

Where Celery gives the message back to the broker, the task goes back to its lane instead, because the message's
fence is spent: its copy in the broker's queue will be dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from celery import Task
from celery.worker.request import Request
from kombu.utils.imports import symbol_by_name

from ..limits.outcome import Outcome
from .envelope import FENCE_HEADER, task_key


def lease_of(request: Request) -> tuple[str, int] | None:
    """The (task, fence) that a worker's request runs under, or None for an unlimited task."""
    return lease_in(request.request_dict)


def lease_in(headers: Mapping[str, Any]) -> tuple[str, int] | None:
    """The same, from a message's headers."""
    fence = headers.get(FENCE_HEADER)
    return None if fence is None else (task_key(headers), fence)


class End(NamedTuple):
    """The end of an execution, to be reported. `goes_back`: the task is to run again. `outcome` is for its `service`."""

    task: str
    fence: int
    goes_back: bool = False
    outcome: Outcome = Outcome.OPEN
    service: str | None = None


class ReportingRequest(Request):
    """A worker's request that says so when its task ends outside its own process."""

    _goes_back = False

    def _end(self, outcome: Outcome = Outcome.OPEN) -> None:
        if lease := lease_of(self):
            self._app.turgor.ended.put(End(*lease, self._goes_back, outcome, self.request_dict.get("service")))

    def reject(self, requeue: bool = False) -> None:
        self._goes_back = self._goes_back or (requeue and not self.acknowledged)
        super().reject(requeue)

    def _announce_cancelled(self, *args: Any, **kwargs: Any) -> None:
        super()._announce_cancelled(*args, **kwargs)
        self._goes_back = True
        self._end()

    def on_timeout(self, soft: bool, timeout: float) -> None:
        super().on_timeout(soft, timeout)
        if not soft:
            self._end(Outcome.FAILED)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        super().on_failure(exc_info, send_failed_event, return_ok)
        if not return_ok:
            self._end(Outcome.FAILED)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        super()._announce_revoked(reason, terminated, signum, expired)
        self._end()


def report_ends(task: Task) -> None:
    """Let the task's requests report. A request class of the user's own keeps its behaviour."""
    base = symbol_by_name(task.Request)
    if not issubclass(base, ReportingRequest):
        task.Request = type(base.__name__, (ReportingRequest, base), {})
