"""Purging: discards whatever waits for one broker queue, in calls that each take a moment only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, cast

from .lane import Lane

if TYPE_CHECKING:
    from .scheduler import Scheduler

AT_ONCE = 200


def purge_waiting(scheduler: Scheduler, queue: str) -> int:
    """Discard the tasks that wait for the broker's list `queue` or are delayed. Returns how many; tells nobody.

    A lane may move while it is looked for, so the search goes on until it finds nothing.
    """
    discarded = _discard_delayed(scheduler, queue)
    while found := sum(_discard_lane(scheduler, lane) for lane in _lanes(scheduler, queue)):
        discarded += found
    return discarded


def _discard_lane(scheduler: Scheduler, lane: Lane) -> int:
    discarded = 0
    while found := scheduler.discard_lane(lane, AT_ONCE):
        discarded += found
    return discarded


def _discard_delayed(scheduler: Scheduler, queue: str) -> int:
    members = (entry for entry, _ in scheduler.client.zscan_iter(scheduler.keys("delayed"), count=1000))
    theirs = (entry for entry in members if Lane.from_name(entry.partition(b"\x1e")[0].decode()).queue == queue)
    discarded = 0
    while some := list(islice(theirs, AT_ONCE)):
        discarded += scheduler.discard_delayed(some)
    return discarded


def _lanes(scheduler: Scheduler, queue: str) -> Iterator[Lane]:
    client, keys = scheduler.client, scheduler.keys
    gates = cast("list[bytes]", client.zrange(keys("wakes"), 0, -1))
    for place in ("ready", *(f"gate:{gate.decode()}" for gate in gates)):
        for name, _ in client.zscan_iter(keys(place), count=1000):
            lane = Lane.from_name(name.decode())
            if lane.queue == queue:
                yield lane
