"""The application that the tests' workers run, and the tests submit to. `support.AppSettings` says how.

Every execution leaves lines in the journal, a file, so that a test sees what ran also when Redis has lost its memory.
"""

from __future__ import annotations

import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject
from kombu import Exchange, Queue
from kombu.common import Broadcast

from turgor.worker import Throttled, Turgor, current

SETTINGS = json.loads(os.environ["TURGOR_TEST_APP"])
LONGEST_HOLD_S = 50.0


def note(event: str, request: Any, args: Any = ()) -> None:
    entry = {
        "event": event,
        "task": request.task,
        "id": request.id,
        "args": list(args or ()),
        "at": time.time(),
        "pid": os.getpid(),
        "retries": request.retries,
        "fence": request.get("turgor_fence"),
        "headers": {
            name: request.get(name) for name in ("loop", "loop_type", "priority", "service", "endpoint", "weight", "tokens")
        },
        "queue": request.delivery_info["routing_key"],
        "root": request.root_id,
        "custom": request.get("tenant"),
        "forecast": request.get("turgor_forecast"),
    }
    line = json.dumps(entry) + "\n"
    with Path(SETTINGS["journal"]).open("ab", buffering=0) as journal:
        journal.write(line.encode())


class Noted(Task):
    """A task whose starts and ends are in the journal."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note("start", self.request, args)

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, *_: Any) -> None:
        if self.request.id is not None:  # not on a time limit: Celery then calls this in the worker's main process
            note("end", self.request, args)


def queue(name: str, exchange: str, kind: str, routing_key: str) -> Queue:
    if kind == "broadcast":
        return Broadcast(name)
    return Queue(name, Exchange(exchange, type=kind), routing_key=routing_key)


def build() -> Celery:
    built = Celery("proj", broker=SETTINGS["broker"], backend=SETTINGS["backend"], task_cls=Noted)
    built.conf.update(SETTINGS["conf"])
    if SETTINGS["queues"]:
        built.conf.task_queues = [queue(*each) for each in SETTINGS["queues"]]
    return built


app = build()
turgor = None if SETTINGS["plain"] else Turgor(app, SETTINGS["limits"], **SETTINGS["options"])

# Unshared: a task of one copy of this module is not a task of every other app in the process.
task = partial(app.task, shared=False)


@task(name="proj.free")
def free(value: Any = None) -> Any:
    """No limit concerns this one, unless the table [tasks] or a global limit does."""
    return value


@task(name="proj.call", service="api")
def call(value: Any = None) -> Any:
    return value


@task(name="proj.declared", service="api", endpoint="chat", loop="nightly", loop_type="cron", weight=2, tokens=5)
def declared(value: Any = None) -> Any:
    """Says all about itself."""
    return value


@task(name="proj.mapped")
def mapped(value: Any = None) -> Any:
    """Its service is in the table [tasks]."""
    return value


@task(name="proj.add", service="api")
def add(x: int, y: int) -> int:
    return x + y


@task(name="proj.total", service="api")
def total(values: list[int]) -> int:
    return sum(values)


@task(name="proj.single", service="single")
def single(value: Any = None) -> Any:
    """One at a time, in the whole realm."""
    return value


@task(name="proj.hold", service="single")
def hold(until: str, value: Any = None) -> Any:
    """Runs until the file `until` exists."""
    give_up_at = time.monotonic() + LONGEST_HOLD_S
    while not Path(until).exists() and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return value


@task(name="proj.linger", service="api")
def linger(until: str, value: Any = None) -> Any:
    """Like `hold`, but many may at a time."""
    return hold.run(until, value)


@task(name="proj.work", service="api")
def work(seconds: float, value: Any = None) -> Any:
    """Takes a while."""
    time.sleep(seconds)
    return value


@task(name="proj.flaky", bind=True, service="api", max_retries=10)
def flaky(self: Any, value: Any, failures: int = 1, countdown: float = 0, options: dict[str, Any] | None = None) -> Any:
    if self.request.retries < failures:
        raise self.retry(countdown=countdown, **(options or {}))
    return value


@task(name="proj.flaky_free", bind=True, max_retries=10)
def flaky_free(self: Any, value: Any, countdown: float = 0) -> Any:
    """Retries once, then calls a limited task."""
    if self.request.retries < 1:
        raise self.retry(countdown=countdown)
    return call.delay(value).id


@task(name="proj.flaky_free_only", bind=True, max_retries=10)
def flaky_free_only(self: Any, value: Any, countdown: float = 0) -> Any:
    """Retries once; no limit concerns it."""
    if self.request.retries < 1:
        raise self.retry(countdown=countdown)
    return value


@task(name="proj.swap", bind=True, service="api")
def swap(self: Any, value: Any) -> Any:
    return self.replace(call.s(value))


@task(name="proj.parent", service="api")
def parent(options: dict[str, Any]) -> str:
    """Calls a child; returns the child's id."""
    return call.apply_async((1,), **options).id


@task(name="proj.rejected", bind=True, service="single", acks_late=True)
def rejected(self: Any, marker: str, requeue: bool = True) -> str:
    """Is rejected until the file `marker` exists, and makes it."""
    if not Path(marker).exists():
        Path(marker).touch()
        raise Reject("not yet", requeue=requeue)
    return "done"


@task(name="proj.ignored", service="single")
def ignored() -> None:
    raise Ignore


@task(name="proj.throttled", service="api", autoretry_for=(Exception,))
def throttled(marker: str, retry_after: float | None = None) -> str:
    """Its service refuses the first call, before the file `marker` exists."""
    if not Path(marker).exists():
        Path(marker).touch()
        raise Throttled(retry_after)
    return "done"


@task(name="proj.throttled_free")
def throttled_free() -> None:
    """No limit concerns it."""
    raise Throttled(5)


@task(name="proj.failing", service="single")
def failing() -> None:
    raise ValueError("on purpose")


@task(name="proj.limited_hold", service="single", time_limit=1)
def limited_hold(until: str) -> Any:
    """Like `hold`, with a hard time limit."""
    return hold.run(until)


@task(name="proj.hold_late", service="single", acks_late=True, reject_on_worker_lost=True)
def hold_late(until: str, value: Any = None) -> Any:
    """Like `hold`, for who wants it to run again when its process is lost."""
    return hold.run(until, value)


@task(name="proj.slow_late", service="single", acks_late=True, acks_on_failure_or_timeout=False, time_limit=1)
def slow_late(marker: str) -> str:
    """Runs out of time the first time; its message then goes back to the broker."""
    if not Path(marker).exists():
        Path(marker).touch()
        time.sleep(LONGEST_HOLD_S)
    return "in time"


@task(name="proj.complete", service="llm")
def complete(*costs: int, seconds: float = 0.0) -> None:
    """Takes a while, then settles each of the costs in turn."""
    time.sleep(seconds)
    for cost in costs:
        current.settle(cost)


@task(name="proj.answer", service="llm")
def answer(response: Any) -> int | None:
    return current.settle_response(response)


@task(name="proj.broken", service="llm")
def broken(cost: int | None = None) -> None:
    """Fails, after it has settled a cost if there is one."""
    if cost is not None:
        current.settle(cost)
    raise ValueError("on purpose")


@task(name="proj.again", bind=True, service="llm", max_retries=3)
def again(self: Any, costs: list[int]) -> int:
    """Retries until the costs are used up, and settles one in each attempt."""
    current.settle(costs[self.request.retries])
    if self.request.retries + 1 < len(costs):
        raise self.retry(countdown=0)
    return self.request.retries


@task(name="proj.hold_tokens", service="llm")
def hold_tokens(until: str) -> Any:
    return hold.run(until)


@task(name="proj.outside")
def outside(cost: int) -> str:
    """No limit concerns it."""
    current.settle(cost)
    return "done"
