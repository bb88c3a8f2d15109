"""A survey: what waits, where and for what, at one moment. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..limits.keys import Keys
from ..limits.lua import Client
from .lane import Lane
from .scheduler import SECOND_US


@dataclass(frozen=True, slots=True)
class WaitingLane:
    """A lane with work: its tasks, and the scope it is parked at (`""`: ready)."""

    lane: Lane
    tasks: int
    parked_at: str


@dataclass(frozen=True, slots=True)
class ClosedGate:
    """A scope that lanes are parked at: how many, and the seconds until its best lane is tried again."""

    scope: str
    unit: str
    lanes: int
    opens_in_s: float


@dataclass(frozen=True, slots=True)
class Survey:
    """One moment of a realm.

    `waiting`, `delayed` and `in_flight` count tasks, `releasing` those in flight that are yet to be published; `ready_lanes` counts lanes. `lanes` and `gates`
    hold at most as many as were asked for, the next to move first.
    """

    waiting: int
    delayed: int
    in_flight: int
    ready_lanes: int
    gates: tuple[ClosedGate, ...]
    lanes: tuple[WaitingLane, ...]
    unclaimed: dict[str, int]
    capacity: dict[str, int]
    releasing: int = 0


def survey(client: Client, keys: Keys, *, most: int = 20) -> Survey:
    """Survey a realm in three round trips, whatever waits in it."""
    pipe = client.pipeline(transaction=False)
    pipe.hlen(keys("message"))
    pipe.zcard(keys("delayed"))
    pipe.hlen(keys("lease"))
    pipe.zcard(keys("ready"))
    pipe.zrange(keys("ready"), 0, most - 1)
    pipe.zrange(keys("wakes"), 0, most - 1, withscores=True)
    pipe.hgetall(keys("unclaimed"))
    pipe.hgetall(keys("ahead"))
    pipe.zcard(keys("releasing"))
    pipe.time()
    messages, delayed, in_flight, ready_lanes, ready, wakes, unclaimed, ahead, releasing, (seconds, micros) = pipe.execute()
    now_us = seconds * SECOND_US + micros
    gates, parked = _gates(client, keys, wakes, now_us, most)
    places = [(name.decode(), "") for name in ready] + parked
    return Survey(
        waiting=max(0, messages - delayed - in_flight),
        delayed=delayed,
        in_flight=in_flight,
        ready_lanes=ready_lanes,
        gates=gates,
        lanes=_lanes(client, keys, places[:most]),
        unclaimed=_counts(unclaimed),
        capacity=_counts(ahead),
        releasing=releasing,
    )


def _gates(
    client: Client, keys: Keys, wakes: list[tuple[bytes, float]], now_us: int, most: int
) -> tuple[tuple[ClosedGate, ...], list[tuple[str, str]]]:
    pipe = client.pipeline(transaction=False)
    for name, _ in wakes:
        pipe.zcard(keys(f"gate:{name.decode()}"))
        pipe.zrange(keys(f"gate:{name.decode()}"), 0, most - 1)
    replies: list[Any] = pipe.execute() if wakes else []
    gates: list[ClosedGate] = []
    parked: list[tuple[str, str]] = []
    for (name, wake_us), lanes, first in zip(wakes, replies[::2], replies[1::2], strict=True):
        scope, _, unit = name.decode().rpartition("|")
        gates.append(ClosedGate(scope, unit, lanes, max(0.0, (wake_us - now_us) / SECOND_US)))
        parked += [(lane.decode(), scope) for lane in first]
    return tuple(gates), parked


def _lanes(client: Client, keys: Keys, places: list[tuple[str, str]]) -> tuple[WaitingLane, ...]:
    pipe = client.pipeline(transaction=False)
    for name, _ in places:
        pipe.llen(keys(f"lane:{name}"))
    sizes: list[int] = pipe.execute() if places else []
    return tuple(
        WaitingLane(Lane.from_name(name), size, parked_at) for (name, parked_at), size in zip(places, sizes, strict=True) if size
    )


def _counts(fields: dict[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(count) for name, count in fields.items()}
