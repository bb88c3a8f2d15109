"""Declaring a task of an app with Turgor: what it says of its retries is checked at once, and put around its `run`.

Celery warns of a name that is used twice at the first frame that is not its own, so nothing here may stand between the
program and the making of a task: the registry is told when a task has been made.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from .retry_policy import RetryPolicy
from .retrying import retry_as_declared

if TYPE_CHECKING:
    from celery import Celery, Task


def watch_declarations(app: Celery) -> None:
    """From now on, tasks that the app makes retry as they declare.

    `app.task` makes a task when it is first used, and only then could it be asked; so the words are checked before.
    What was declared earlier, a worker looks at when it starts.
    """
    declare, registry = app.task, app._tasks

    @wraps(declare)
    def task(*args: Any, **options: Any) -> Any:
        if options:
            RetryPolicy.check(options)
        return declare(*args, **options)

    vars(app)["task"] = task
    kind: Any = type(registry)

    def set_item(self: Any, name: str, task: Task) -> None:
        retry_as_declared(task)
        kind.__setitem__(self, name, task)

    registry.__class__ = type(kind.__name__, (kind,), {"__setitem__": set_item})
