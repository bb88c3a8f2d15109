from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import cast

from apps import QUEUE, SERVICE
from bench import Bench
from figure import Figure

from crew import Crew, wait_until

_LATER_S = 86_400.0
_BATCH = 500
_WARM_UP = 200
_GOAL_B = 5_000_000
_LIMITS = {"services": {SERVICE: {"requests_per_minute": 1_000_000}}}


def measure(bench: Bench) -> Iterator[Figure]:
    """What delayed tasks cost a worker: the growth of the resident memory of all its processes, while tasks wait that are due
    tomorrow. One worker with two processes, which runs other tasks before and after. Beside it a worker of plain Celery, which
    holds its delayed tasks itself.
    """
    tasks, plain_tasks = bench.size(1_000, 1_000_000), bench.size(100, 10_000)
    with Crew(bench.server.database(0), _LIMITS) as crew:
        grown = _growth(crew, lambda: _delay(crew, tasks))
        assert crew.client.zcard(crew.application.turgor.keys("delayed")) == tasks, "all are delayed"
        assert not crew.client.llen(QUEUE), "and none is at the broker"
    yield Figure(f"{tasks:,} delayed tasks, Turgor", _megabytes(grown), f"≤ {_GOAL_B / 1e6:.0f} MB", grown <= _GOAL_B)
    bench.server.empty()
    with Crew(bench.server.database(1), None) as crew:
        grown = _growth(crew, lambda: _hold(crew, plain_tasks))
    yield Figure(
        f"{plain_tasks:,} delayed tasks, plain Celery", f"{_megabytes(grown)}, {grown / plain_tasks / 1e3:.1f} kB a task"
    )


def _growth(crew: Crew, delay: Callable[[], None]) -> int:
    """Bytes of memory that the worker has more when the tasks are delayed, and when it has worked again after that."""
    _work(crew)
    before = crew.resident()
    delay()
    _work(crew)
    return crew.resident() - before


def _work(crew: Crew) -> None:
    crew.forget()
    for number in range(_WARM_UP):
        crew.application.note.delay(number)
    wait_until(lambda: len(crew.starts()) == _WARM_UP, "the worker has run other tasks")


def _delay(crew: Crew, tasks: int) -> None:
    """One task as `apply_async` delays it, and copies of all that this has stored, under ids of their own."""
    keys = crew.application.turgor.keys
    first = crew.application.noop.apply_async((0,), countdown=_LATER_S).id.encode()
    message = cast("bytes", crew.client.hget(keys("message"), first))
    ((entry, due_us),) = cast("list[tuple[bytes, float]]", crew.client.zrange(keys("delayed"), 0, -1, withscores=True))
    for start in range(1, tasks, _BATCH):
        ids = [b"%036d" % number for number in range(start, min(start + _BATCH, tasks))]
        pipe = crew.client.pipeline(transaction=False)
        pipe.hset(keys("message"), mapping={each: os.urandom(8) + message[8:].replace(first, each) for each in ids})
        pipe.zadd(keys("delayed"), {entry.replace(first, each): due_us + number for number, each in enumerate(ids, start)})
        pipe.execute()


def _hold(crew: Crew, tasks: int) -> None:
    for number in range(tasks):
        crew.application.noop.apply_async((number,), countdown=_LATER_S)
    wait_until(lambda: crew.client.hlen("unacked") == tasks, "the worker holds all of them")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:+.1f} MB"
