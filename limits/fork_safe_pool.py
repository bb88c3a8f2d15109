"""Pools of redis-py that a child may use which was forked while another thread was at the pool.

redis-py notices the fork and makes the pool anew in the child, but asks for the pool's lock first (8.1: `reset`). If another
thread of the parent held it at that moment, the child waits for ever. Celery's prefork pool forks at any time, beside a
dispatcher and an attendant. So whoever forks holds the locks meanwhile: the pool is whole in the child, and its lock is free.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import ref

_pools: dict[int, ref[Any]] = {}
# What the thread that forks holds; its copy in the child holds the same.
_fork = threading.local()


def make_fork_safe(pool: Any) -> None:
    """Let no thread be at the pool while the process forks. Twice is as good as once."""
    number = id(pool)
    _pools[number] = ref(pool, lambda _: _pools.pop(number, None))


def _acquire_all() -> None:
    pools = [each() for each in list(_pools.values())]
    _fork.held = [lock for pool in pools if (lock := getattr(pool, "_lock", None)) is not None]
    for lock in _fork.held:
        lock.acquire()


def _release_all() -> None:
    while _fork.held:
        _fork.held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_acquire_all, after_in_parent=_release_all, after_in_child=_release_all)
