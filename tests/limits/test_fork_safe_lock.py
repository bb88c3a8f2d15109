"""A child that is forked while a thread of its parent holds a lock must be able to take it."""

from __future__ import annotations

import os
import signal
import threading

from turgor.limits.fork_safe_lock import ForkSafeLock


def test_a_child_can_take_a_lock_that_another_thread_held_at_the_fork() -> None:
    lock, is_held, may_go = ForkSafeLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            is_held.set()
            may_go.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    is_held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(5)  # ends the child by a signal if it waits for the lock
        with lock:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    may_go.set()
    holder.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_it_excludes_other_threads() -> None:
    lock, order = ForkSafeLock(), list[str]()

    def follow() -> None:
        with lock:
            order.append("second")

    with lock:
        other = threading.Thread(target=follow)
        other.start()
        order.append("first")
    other.join()
    assert order == ["first", "second"]
