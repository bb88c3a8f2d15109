"""Tells the caller of a task that was taken out before it ran: the result backend holds the reason.

A task that waited too long fails with `WaitTimeout`, one that was dropped for others with `TaskShed`, and its errbacks run. A revoked one, or one that had `expires`, ends as a worker would have
ended it: state REVOKED, the signal `task_revoked`, and the event `task-revoked` if the app sends events.
"""

from __future__ import annotations

import time
from datetime import datetime
from socket import gethostname
from typing import TYPE_CHECKING, Any, cast

from celery.signals import task_revoked
from celery.utils.time import maybe_make_aware

from .continuation import continuing
from .errors import TaskShed, WaitTimeout
from .stored_request import request_of

if TYPE_CHECKING:
    from celery import Celery
    from celery.app.task import Context

    from ..scheduler.expired_task import ExpiredTask


def tell(app: Celery, expired: ExpiredTask) -> None:
    """Record the end of a task as a worker would have done."""
    request = cast("Any", request_of(app, expired.template))
    with continuing():
        _end(app, request, expired)


def _end(app: Celery, request: Any, expired: ExpiredTask) -> None:
    if expired.revoked:
        _revoke(app, request)
    elif not expired.shed_by and _has_expired(app, request):
        _revoke(app, request, expired=True)
    else:
        error = (
            TaskShed(request.task, expired.shed_by)
            if expired.shed_by
            else WaitTimeout(request.task, request.get("max_wait"), expired.held_by, request.get("deadline"))
        )
        app.backend.mark_as_failure(request.id, error, request=request, store_result=not request.ignore_result)


def _has_expired(app: Celery, request: Any) -> bool:
    """Whether the bound that the task met was its `expires`."""
    if not request.expires:
        return False
    expires = maybe_make_aware(datetime.fromisoformat(request.expires), app.timezone).timestamp()
    return expires <= (request.get("deadline") or expires) and (request.get("max_wait") is None or expires <= time.time())


def _revoke(app: Celery, request: Any, *, expired: bool = False) -> None:
    task: Any = app.tasks.get(request.task)
    backend = app.backend if task is None else task.backend
    keeps_errors = task is not None and task.store_errors_even_if_ignored
    backend.mark_as_revoked(
        request.id,
        reason="expired" if expired else "revoked",
        request=request,
        store_result=keeps_errors or not request.ignore_result,
    )
    task_revoked.send(sender=task, request=request, terminated=False, signum=None, expired=expired)
    if app.conf.worker_send_task_events or app.conf.task_send_sent_event:
        _send_event(app, request, expired=expired)


def _send_event(app: Celery, request: Context, *, expired: bool) -> None:
    # One name for a machine: monitors take the sender of an event for a worker.
    name = f"turgor@{gethostname()}"
    with (
        app.connection_for_write() as connection,
        app.events.Dispatcher(connection, hostname=name, buffer_while_offline=False) as events,
    ):
        events.send("task-revoked", uuid=request.id, terminated=False, signum=None, expired=expired)
