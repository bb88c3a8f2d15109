"""Which publishes go on with work that was accepted before: they are never refused for want of room.

Retries and replacements say so in their headers. The next step of a chain, the body of a chord, `link` and `link_error`
are published by Celery itself, around the user's code, and nothing in their messages tells them from a task that user code
calls. What does is who asks: in a worker, Celery's tracer runs the task's function, and publishes what follows without it. So the
stack is looked at, and only where a submit was refused. Elsewhere `continuing` says so.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePath
from typing import Any

import celery.app.trace

_TRACER = celery.app.trace.__file__
_CELERY = PurePath(_TRACER).parent.parent
_CANVAS = tuple(str(_CELERY / name) for name in ("canvas.py", "app/trace.py", "app/builtins.py", "backends"))
# Of the tracer's own functions, the one that calls the task's.
_CALLS_USER = "__protected_call__"
_continuing: ContextVar[bool] = ContextVar("turgor_continuing", default=False)


@contextmanager
def continuing() -> Generator[None]:
    """What is published here goes on with accepted work: a dispatcher calls the errbacks of a task that never ran."""
    before = _continuing.set(True)
    try:
        yield
    finally:
        _continuing.reset(before)


def repeats(headers: Mapping[str, Any]) -> bool:
    """Whether the message is a retry or a replacement of a task."""
    return bool(headers.get("retries") or headers.get("replaced_task_nesting"))


def goes_on() -> bool:
    """Whether whoever publishes now is Celery, going on with a task after its function has ended."""
    if _continuing.get():
        return True
    frame, called = inspect.currentframe(), None
    while frame is not None:
        code = frame.f_code
        if code.co_filename == _TRACER and code.co_name == "trace_task":
            return called is not None and called.co_filename.startswith(_CANVAS) and called.co_name != _CALLS_USER
        called, frame = code, frame.f_back
    return False
