from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from apps import QUEUE, SERVICE, limited_app, noop_of, one_limit, plain_app
from bench import Bench
from celery import Task
from figure import Figure
from realm import FIVE_LEVELS, UNBOUND
from spread import Rounds, Spread, interleave, ratio

from turgor.worker import Loop, LoopCall

_GOAL, _BATCH_GOAL = 1.4, 15
_PLAIN = "plain Celery"
_LOOPS = 1_000
_BATCH = "Loop.submit_many"


class _Producer:
    """Calls `apply_async` of one app's task, some hundred times a round.

    Parameters
    ----------
    task:
        The task.
    calls:
        How often a round.
    options:
        Gives the options of each call.
    """

    def __init__(self, task: Task[..., None], calls: int, options: Callable[[int], dict[str, Any]] = lambda _: {}) -> None:
        self._task, self._calls, self._options = task, calls, options
        self.cpu_us: list[float] = []
        self.call_us()

    def call_us(self) -> float:
        """Microseconds a call."""
        submit = self._task.apply_async
        options = [self._options(number) for number in range(self._calls)]
        started, cpu_s = time.perf_counter(), time.process_time()
        for number, each in enumerate(options):
            submit((number,), **each)
        seconds = time.perf_counter() - started
        self.cpu_us.append((time.process_time() - cpu_s) / self._calls * 1e6)
        return seconds / self._calls * 1e6


class _Batches:
    """Submits as many calls a round with one `Loop.submit_many`."""

    def __init__(self, loop: Loop, task: Task[..., None], calls: int) -> None:
        self._loop, self._task, self._calls = loop, task, calls
        self.cpu_us: list[float] = []
        self.call_us()

    def call_us(self) -> float:
        """Microseconds a call."""
        calls = [LoopCall(self._task, (number,)) for number in range(self._calls)]
        started, cpu_s = time.perf_counter(), time.process_time()
        self._loop.submit_many(calls)
        seconds = time.perf_counter() - started
        self.cpu_us.append((time.process_time() - cpu_s) / self._calls * 1e6)
        return seconds / self._calls * 1e6


def measure(bench: Bench) -> Iterator[Figure]:
    """`apply_async` through the gate against `apply_async` of plain Celery: the same task, settings and server, one process,
    no worker, no result backend. Released at once: the limits allow, and workers that are waited for have room. Waits: the
    task goes into a lane. `Loop.submit_many`: as many calls, which wait, in one batch.
    """
    producers = _producers(bench)
    found: Rounds = interleave(bench.size(1, 12), {name: each.call_us for name, each in producers.items()})
    for name, producer in producers.items():
        times = f"{Spread.of(found[name]):.0f} µs; the producer's CPU {Spread.of(producer.cpu_us).median:.0f} µs"
        yield Figure(f"a call, {name}", times)
    for name in list(producers)[1:]:
        share = ratio(found, _PLAIN, name)
        goal = _BATCH_GOAL if name == _BATCH else _GOAL
        yield Figure(f"calls a second, {name} / {_PLAIN}", f"{share:.2f}", f"≥ {goal}", share.median >= goal)


def _producers(bench: Bench) -> dict[str, _Producer | _Batches]:
    calls = bench.size(10, 500)
    batched = _limited(bench, "batches", one_limit(1))
    loop: Loop = vars(batched.app)["turgor"].loop("planner-7")
    return {
        _PLAIN: _Producer(noop_of(plain_app(bench.server.database(1))), calls),
        "one limit, released at once": _Producer(_limited(bench, "open", one_limit(UNBOUND), is_open=True), calls),
        "one limit that binds, waits": _Producer(_limited(bench, "closed", one_limit(1)), calls),
        "one limit that binds, waits in 1,000 lanes": _Producer(
            _limited(bench, "lanes", one_limit(1)), calls, lambda number: {"loop": f"loop-{number % _LOOPS}"}
        ),
        _BATCH: _Batches(loop, batched, calls),
        "five levels, released at once": _Producer(
            _limited(bench, "levels", FIVE_LEVELS, is_open=True),
            calls,
            lambda number: {"endpoint": "chat", "loop_type": "planner", "loop": f"loop-{number % _LOOPS}"},
        ),
    }


def _limited(bench: Bench, realm: str, limits: dict[str, Any], *, is_open: bool = False) -> Task[..., None]:
    app, turgor = limited_app(bench.server.database(0), limits, realm=realm)
    app.conf.task_default_queue = f"{QUEUE}-{realm}"
    if is_open:
        turgor.scheduler.attend("bench@host", {turgor.broker_key(app.conf.task_default_queue): UNBOUND}, silence_s=3_600)
    return noop_of(app, service=SERVICE)
