"""A lock for state that a process shares with the children that it forks.

A child has one thread: the one that forked. A plain lock that another thread of the parent held at that moment
would never be released in the child. Celery's prefork pool forks at any time, beside a dispatcher and an attendant.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

if TYPE_CHECKING:
    from types import TracebackType


class ForkSafeLock:
    """A `threading.Lock` that is free in a forked child. What it guards may be half changed there, and must bear that."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _LOCKS.add(self)

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Forget who holds it."""
        self._lock = threading.Lock()


_LOCKS: WeakSet[ForkSafeLock] = WeakSet()


def _renew_all(*_: Any) -> None:
    for lock in _LOCKS:
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
