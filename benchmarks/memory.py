from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, cast

from bench import Bench
from figure import Figure
from message import envelope, sample
from realm import UNBOUND, Realm
from redis import Redis

from turgor.limits.limit import Limit, LimitKind
from turgor.limits.limiter import Limiter
from turgor.scheduler.waiting_task import WaitingTask

_GOAL_B = 200
_BUCKET_GOAL_B = 120
_SIZES = 64
_LARGEST = 1_024
_LIMITS: dict[str, Any] = {"services": {"api": {"requests_per_day": 1}}, "loops": {"*": {"requests_per_minute": UNBOUND}}}


class _Messages:
    """Messages of many sizes, so that the allocator's rounding evens out."""

    def __init__(self) -> None:
        self._samples = [sample(step * _LARGEST // _SIZES) for step in range(_SIZES)]

    def stored(self, number: int, task: str) -> bytes:
        template, task_id = self._samples[number % _SIZES]
        return template.replace(task_id, task.encode())


def measure(bench: Bench) -> Iterator[Figure]:
    """What waiting costs in Redis: `used_memory` with the tasks in Turgor, less `used_memory` with the same envelopes in
    kombu's list, for each task. Arguments of 0 to 1,024 characters. Their service is closed.
    """
    tasks = bench.size(1_000, 100_000)
    messages = _Messages()
    in_list = _growth(bench, lambda client: _push(client, tasks, messages))
    one = _growth(bench, lambda client: _wait(client, tasks, 1, messages))
    lanes = tasks // 10
    many = _growth(bench, lambda client: _wait(client, tasks, lanes, messages))
    yield _beyond(f"{tasks:,} in one lane", (one - in_list) / tasks)
    yield _beyond(f"{tasks:,} in {lanes:,} lanes", (many - in_list) / tasks)
    yield Figure("its message in kombu's list, for comparison", f"{in_list / tasks:.0f} B")
    yield Figure("a lane, its tasks not counted", f"{(many - one) / lanes:.0f} B; 0 B when its last task is released")
    loops = bench.size(100, 10_000)
    yield Figure("a loop whose tasks have all ended, while its window counts them", f"{_ended(bench, loops) / loops:.0f} B")
    yield from _keys(bench)


def _beyond(where: str, size: float) -> Figure:
    return Figure(f"a waiting task beyond its message, {where}", f"{size:.0f} B", f"≤ {_GOAL_B} B", size <= _GOAL_B)


def _growth(bench: Bench, fill: Callable[[Redis], None]) -> int:
    bench.server.empty()
    with Redis.from_url(bench.server.database(0)) as client:
        before = bench.server.memory()
        fill(client)
        return bench.server.memory() - before


def _push(client: Redis, tasks: int, messages: _Messages) -> None:
    pipe = client.pipeline(transaction=False)
    for number in range(tasks):
        pipe.lpush("tasks", envelope(messages.stored(number, f"{number:036d}")))
        if number % 100 == 99:
            pipe.execute()
    pipe.execute()


def _wait(client: Redis, tasks: int, lanes: int, messages: _Messages) -> None:
    realm = Realm(client, _LIMITS)
    places = [realm.lane(number) for number in range(lanes)]

    def make(number: int) -> WaitingTask:
        task = f"{number:036d}"
        return WaitingTask(task, os.urandom(8), places[number % lanes], messages.stored(number, task))

    realm.fill(tasks, make)


def _ended(bench: Bench, loops: int) -> int:
    """Bytes that are left of one task of each of so many loops, less what is left of as many tasks of one loop."""

    def work(client: Redis, lanes: int) -> None:
        realm = Realm(client, {"services": {"api": {}}, "loops": {"*": {"requests_per_minute": UNBOUND}}})
        realm.open(32)
        realm.fill_lanes(loops, lanes)
        realm.work(loops)

    return _growth(bench, lambda client: work(client, loops)) - _growth(bench, lambda client: work(client, 1))


def _keys(bench: Bench) -> Iterator[Figure]:
    """Bytes of the keys of one limit, their names included."""
    with Redis.from_url(bench.server.database(0)) as client:
        for what, limit in (
            ("a bucket", Limit(LimitKind.BUCKET, 100, period_us=60_000_000, refill=60)),
            ("a window used once", Limit(LimitKind.WINDOW, 100, period_us=60_000_000)),
        ):
            client.flushdb()
            limiter = Limiter(client, "service:api", (limit,))
            limiter.try_consume()
            yield _key(client, what, goal=limit.kind is LimitKind.BUCKET)
        client.flushdb()
        window = Limiter(client, "service:api", (Limit(LimitKind.WINDOW, 1_000, period_us=60_000_000),))
        now_us = 1_700_000_000_000_000
        for step in range(200):
            window.try_consume(now_us=now_us + step * 300_000)
        yield _key(client, "a window in steady use, at its largest", goal=False)


def _key(client: Redis, what: str, *, goal: bool) -> Figure:
    found = cast("list[bytes]", client.keys("*"))
    assert len(found) == 1, f"{what} has {len(found)} keys"
    size = cast("int", client.memory_usage(found[0]))
    assert client.pttl(found[0]) > 0, f"{what} does not expire"
    measured = f"{size} B, name of {len(found[0])} B included"
    return Figure(what, measured, f"≤ {_BUCKET_GOAL_B} B" if goal else "", size <= _BUCKET_GOAL_B if goal else None)
