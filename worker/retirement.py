"""Takes processes out of a prefork pool without taking anything away from a task.

Celery's own `shrink` ends a child that has not *accepted* a job. But one may have been written to its pipe, or be
meant for it: that job is lost, or fails with WorkerLostError. Here a child retires only if no job names it in any
way, and its pipe is taken out of those that the event loop writes to before it is told to end. Both happen in one
callback of that loop, so nothing can be written in between.
"""

from __future__ import annotations

from typing import Any


def retire(pool: Any, hub: Any, most: int) -> int:
    """End at most so many idle processes of an `AsynPool`. Returns how many there were."""
    retired = 0
    for process in _idle(pool):
        if retired == most:
            break
        pool._all_inqueues.discard(process.inqW_fd)
        hub.remove_writer(process.inqW_fd)
        pool._processes -= 1
        if pool._putlock:
            pool._putlock.shrink()
        process.terminate_controlled()
        retired += 1
    return retired


def _idle(pool: Any) -> list[Any]:
    """The processes that are up and own no job: none that runs, none that is written, half written or scheduled."""
    pids: set[int] = set()
    owners: set[Any] = set()
    for job in list(pool._cache.values()):
        pids.update(job.worker_pids())
        owners.update(owner.pid for owner in (job._write_to, job._scheduled_for) if owner is not None)
    writing = pool._active_writes | pool._busy_workers
    return [
        process
        for process in pool._pool
        if process.inqW_fd in pool._all_inqueues and process.inqW_fd not in writing and process.pid not in pids | owners
    ]
