"""Declaring a task of an app with Turgor: what it says of its retries is checked at once, and put around its `run`."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from .retry_policy import RetryPolicy
from .retrying import retry_as_declared

if TYPE_CHECKING:
    from celery import Celery


def watch_declarations(app: Celery) -> None:
    """From now on, tasks that the app makes retry as they declare.

    `app.task` makes a task when it is first used, and only then could it be asked; so the words are checked before.
    What was declared earlier, a worker looks at when it starts.
    """
    members, declare, make, register = vars(app), app.task, app._task_from_fun, app.register_task

    @wraps(declare)
    def task(*args: Any, **options: Any) -> Any:
        RetryPolicy.check(options, str(options.get("name") or getattr(args[0] if args else None, "__name__", "?")))
        return declare(*args, **options)

    @wraps(make)
    def task_from_fun(*args: Any, **options: Any) -> Any:
        made = make(*args, **options)
        retry_as_declared(made)
        return made

    @wraps(register)
    def register_task(*args: Any, **options: Any) -> Any:
        registered = register(*args, **options)
        retry_as_declared(registered)
        return registered

    members.update(task=task, _task_from_fun=task_from_fun, register_task=register_task)
