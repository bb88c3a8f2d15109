from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bench import Bench
from figure import Figure
from realm import Realm
from redis import Redis
from spread import Spread

_GOAL_MS = 5
_MOST_CALLS = 400
_SERVICE = {"services": {"api": {"requests_per_day": 1}}}


def _loops(per_day: int) -> dict[str, Any]:
    return {"services": {"api": {}}, "loops": {"*": {"requests_per_day": per_day}}}


def _workers_come(client: Redis, lanes: int) -> Callable[[], None]:
    realm = Realm(client)
    realm.fill_lanes(lanes, lanes)

    def go() -> None:
        realm.open()
        realm.dispatch()

    return go


def _lanes_park(client: Redis, lanes: int) -> Callable[[], None]:
    realm = Realm(client, _SERVICE)
    realm.fill_lanes(lanes, lanes)

    def go() -> None:
        realm.open()
        realm.dispatch()

    return go


def _limits_change(client: Redis, lanes: int) -> Callable[[], None]:
    realm = Realm(client, _loops(1))
    realm.open()
    realm.fill_lanes(2 * lanes, lanes)

    def go() -> None:
        realm.publish(_loops(2))
        realm.dispatch(most_calls=_MOST_CALLS)

    return go


def _delays_end(client: Redis, tasks: int) -> Callable[[], None]:
    realm = Realm(client)
    due_us = realm.now_us() + 3_600_000_000
    realm.fill(tasks, lambda number: realm.task(realm.lane(number), due_us=due_us))
    realm.let_time_come("delayed")
    return lambda: void(realm.dispatch(most_calls=_MOST_CALLS))


def _waits_end(client: Redis, tasks: int) -> Callable[[], None]:
    """All in one lane, and those at its end may wait the shortest."""
    realm, last = Realm(client, _SERVICE), tasks - max(1, tasks // 10)
    lane = realm.lane(0)
    realm.fill(tasks, lambda number: realm.task(lane, max_wait_s=3_600.0 if number >= last else None))
    realm.let_time_come("deadlines")
    return lambda: void(realm.dispatch(most_calls=_MOST_CALLS))


def _leases_lapse(client: Redis, tasks: int) -> Callable[[], None]:
    """Nobody has taken what was released, and it still lies in the broker's queue."""
    realm = Realm(client)
    realm.open()
    realm.fill_lanes(tasks, tasks)
    realm.let_time_come("leases")
    return lambda: void(realm.dispatch(most_calls=_MOST_CALLS))


def _work(client: Redis, lanes: int) -> Callable[[], None]:
    """Workers take a thousand tasks, one by one, and each start and end lets the next task go."""
    realm = Realm(client)
    realm.fill_lanes(lanes, lanes)
    realm.open(32)
    return lambda: realm.work(min(1_000, lanes // 2))


def void(_: object) -> None:
    """Drop a result."""


def measure(bench: Bench) -> Iterator[Figure]:
    """The longest script call, by the server's clock, of a thousand and more in each state. A call that the machine interrupts
    counts in full. Median and extremes of the rounds, each with a realm of its own.
    """
    lanes, many = bench.size(50, 10_000), bench.size(0, 0, 100_000)
    rounds = bench.size(1, 2, 3)
    states: list[tuple[str, Callable[[Redis, int], Callable[[], None]], int, int]] = [
        ("workers start and end tasks, {:,} lanes wait", _work, lanes, rounds),
        ("workers come, {:,} lanes wait for them", _workers_come, lanes, rounds),
        ("{:,} lanes find their service closed at once", _lanes_park, lanes, rounds),
        ("{:,} delayed tasks are due at once", _delays_end, lanes, rounds),
        ("1,000 unclaimed releases are looked for at once", _leases_lapse, min(1_000, lanes), rounds),
        ("the last tenth of one lane of {:,} has waited too long", _waits_end, lanes, rounds),
        ("limits change, {:,} lanes wait at limits of their own", _limits_change, lanes, rounds),
    ]
    if many:
        states += [(what, prepare, many, 1) for what, prepare, _, _ in states[-2:]]
    for what, prepare, size, times in states:
        longest = Spread.of(_longest_ms(bench, prepare, size) for _ in range(times))
        yield Figure(what.format(size), f"{longest:.1f} ms", f"≤ {_GOAL_MS} ms", longest.median <= _GOAL_MS)


def _longest_ms(bench: Bench, prepare: Callable[[Redis, int], Callable[[], None]], size: int) -> float:
    bench.server.empty()
    with Redis.from_url(bench.server.database(0)) as client:
        go = prepare(client, size)
        with bench.server.watched() as watch:
            go()
    return watch.longest_us / 1_000
