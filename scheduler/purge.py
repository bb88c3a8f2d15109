"""Purging: discards whatever waits for one broker queue, in calls that each take a moment only."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from .search import delayed_entries, lanes

if TYPE_CHECKING:
    from .lane import Lane
    from .scheduler import Scheduler

AT_ONCE = 200


def purge_waiting(scheduler: Scheduler, queue: str) -> int:
    """Discard the tasks that wait for the broker's list `queue` or are delayed. Returns how many; tells nobody.

    A lane may move while it is looked for, so the search goes on until it finds nothing.
    """
    discarded = _discard_delayed(scheduler, queue)
    while found := sum(_discard_lane(scheduler, lane) for lane in lanes(scheduler) if lane.queue == queue):
        discarded += found
    return discarded


def _discard_lane(scheduler: Scheduler, lane: Lane) -> int:
    discarded = 0
    while found := scheduler.discard_lane(lane, AT_ONCE):
        discarded += found
    return discarded


def _discard_delayed(scheduler: Scheduler, queue: str) -> int:
    discarded = 0
    theirs = (entry for lane, entry in delayed_entries(scheduler) if lane.queue == queue)
    while some := list(islice(theirs, AT_ONCE)):
        discarded += scheduler.discard_delayed(some)
    return discarded
