"""Notes how long each call waited, from its submit to its start, and which calls failed.

The record is a hash in the app's Redis, `PRIORITY:WAIT_MS` -> calls, with the wait to three digits, so that it
stays small however long the demo runs.
"""

from __future__ import annotations

import time
from typing import Any

from celery import signals

from turgor.worker import Turgor

WAITS_KEY = "demo:waits"
FAILURES_KEY = "demo:failures"
FAILURE_COUNT_KEY = "demo:failures:count"
FAILURES_KEPT = 10
_SUBMITTED_AT = "demo_submitted_at"


class Stopwatch:
    """Times the tasks of an app with Turgor, and of no other app: Celery sends its signals for all of them."""

    def __init__(self, turgor: Turgor) -> None:
        self._app, self._turgor = turgor.app, turgor
        self._started_at: dict[str, float] = {}
        signals.before_task_publish.connect(self._submit)
        signals.task_prerun.connect(self._start)
        signals.task_postrun.connect(self._end)
        signals.task_failure.connect(self._fail)

    def _submit(self, *, sender: str, headers: dict[str, Any], **_: Any) -> None:
        if self._is_own(self._app.tasks.get(sender)):
            headers.setdefault(_SUBMITTED_AT, time.time())

    def _start(self, *, task_id: str, task: Any, **_: Any) -> None:
        if self._is_own(task):
            self._started_at[task_id] = time.time()

    def _end(self, *, task_id: str, task: Any, **_: Any) -> None:
        started_at, submitted_at = self._started_at.pop(task_id, None), task.request.get(_SUBMITTED_AT)
        if started_at is not None and submitted_at is not None:
            wait_ms = max(0.0, started_at - submitted_at) * 1000
            # Three digits, none of them after the point.
            field = f"{task.request.get('priority')}:{float(f'{wait_ms:.3g}'):.0f}"
            self._turgor.client.hincrby(WAITS_KEY, field, 1)

    def _fail(self, *, sender: Any, exception: BaseException, **_: Any) -> None:
        if self._is_own(sender):
            client = self._turgor.client
            client.incr(FAILURE_COUNT_KEY)
            client.lpush(FAILURES_KEY, f"{sender.name.rpartition('.')[2]}: {exception}")
            client.ltrim(FAILURES_KEY, 0, FAILURES_KEPT - 1)

    def _is_own(self, task: Any) -> bool:
        return task is not None and task.app is self._app
