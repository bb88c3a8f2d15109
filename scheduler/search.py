"""Looks for work by its lane, through all that waits. Reads only, in pieces, while others work: what moves meanwhile
may be met twice or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from .lane import Lane

if TYPE_CHECKING:
    from .scheduler import Scheduler

_PIECE = 1000
_LEASE_CLAIMANT, _LEASE_LANE = 1, 4


def lanes(scheduler: Scheduler) -> Iterator[Lane]:
    """Every lane with work."""
    for _, lane in lanes_by_place(scheduler):
        yield lane


def lanes_by_place(scheduler: Scheduler) -> Iterator[tuple[str, Lane]]:
    """(gate that it is parked at, `""` for ready; lane) of every lane with work."""
    gates = cast("list[bytes]", scheduler.client.zrange(scheduler.keys("wakes"), 0, -1))
    for gate in ("", *(gate.decode() for gate in gates)):
        for name in _members(scheduler, f"gate:{gate}" if gate else "ready"):
            yield gate, Lane.from_name(name.decode())


def delayed_entries(scheduler: Scheduler) -> Iterator[tuple[Lane, bytes]]:
    """(lane that it will join, member of `delayed`) of every delayed task."""
    for entry in _members(scheduler, "delayed"):
        yield Lane.from_name(entry.partition(b"\x1e")[0].decode()), entry


def in_flight(scheduler: Scheduler) -> Iterator[tuple[str, bytes, Lane]]:
    """(task, who has claimed it: `b""` for nobody yet, lane) of every released task."""
    client: Any = scheduler.client
    for task, record in client.hscan_iter(scheduler.keys("lease"), count=_PIECE):
        fields = record.split(b"\x1e")
        yield task.decode(), fields[_LEASE_CLAIMANT], Lane.from_name(fields[_LEASE_LANE].decode())


def _members(scheduler: Scheduler, name: str) -> Iterator[bytes]:
    client: Any = scheduler.client
    for member, _ in client.zscan_iter(scheduler.keys(name), count=_PIECE):
        yield member
