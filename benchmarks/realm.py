"""A realm full of work, without producers and workers: what only the scheduler and the server do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import count
from typing import Any, cast

from message import QUEUE, sample
from redis import Redis

from turgor.limits.config import LimitsConfig
from turgor.limits.keys import Keys
from turgor.limits.lua import Client
from turgor.limits.registry import LimitsRegistry
from turgor.limits.scope import TaskScopes
from turgor.scheduler.dispatcher import BUDGET
from turgor.scheduler.lane import Lane
from turgor.scheduler.scheduler import SCRIPTS, SECOND_US, Scheduler
from turgor.scheduler.waiting_task import WaitingTask
from turgor.worker.envelope import FENCE_HEADER

UNBOUND = 10_000_000
FIVE_LEVELS: dict[str, Any] = {
    "global": {"requests_per_minute": UNBOUND},
    "services": {"api": {"requests_per_minute": UNBOUND, "endpoints": {"chat": {"requests_per_minute": UNBOUND}}}},
    "loop_types": {"*": {"requests_per_minute": UNBOUND}},
    "loops": {"*": {"requests_per_minute": UNBOUND}},
}
_FOREVER_S = 3_600.0
_BATCH = 100
_TEMPLATE, _ID = sample()


class Realm:
    """A new realm with a broker queue of its own. Nothing is released until `open`.

    Parameters
    ----------
    client:
        Of its server.
    limits:
        Tables as `limits.toml` has them.
    """

    _realms = count()

    def __init__(self, client: Redis, limits: dict[str, Any] = FIVE_LEVELS) -> None:
        name = f"bench-{next(self._realms)}"
        self.client, self.keys, self.queue = client, Keys(name), f"{QUEUE}-{name}"
        self.publish(limits)
        self.scheduler = Scheduler(client, self.keys, claim_within_s=_FOREVER_S, lease_s=_FOREVER_S)
        self._numbers = count()
        for script in SCRIPTS:
            client.script_load(script.source)
        self.open(1)
        self.submit(self.task(self.lane()))

    def publish(self, limits: dict[str, Any]) -> None:
        LimitsRegistry(self.client, self.keys).publish(LimitsConfig.load(limits))

    def open(self, slots: int = UNBOUND) -> None:
        """Let the broker's queue take so many. A realm is new with one slot, and the slot is taken."""
        self.scheduler.attend("bench@host", {self.queue: slots}, silence_s=_FOREVER_S)

    def lane(self, number: int | None = None) -> Lane:
        """The lane of one of many loops, with all five levels; without a number, that of unlimited work."""
        if number is None:
            return Lane(self.queue, unlimited=True)
        return Lane(self.queue, scopes=TaskScopes("api", "chat", "planner", f"loop-{number}"))

    def task(self, lane: Lane, **options: Any) -> WaitingTask:
        name = f"{next(self._numbers):036d}"
        return WaitingTask(name, os.urandom(8), lane, _TEMPLATE.replace(_ID, name.encode()), **options)

    def submit(self, task: WaitingTask) -> None:
        self.scheduler.submit(task)

    def fill(self, tasks: int, make: Callable[[int], WaitingTask]) -> None:
        """Submit many tasks, in few round trips."""
        batch = _Batch(self.client)
        hasty = Scheduler(cast("Client", batch), self.keys, claim_within_s=_FOREVER_S)
        for number in range(tasks):
            hasty.submit(make(number))
        batch.close()

    def fill_lanes(self, tasks: int, lanes: int) -> None:
        """Submit tasks of all five levels to so many lanes, one after the other."""
        places = [self.lane(number) for number in range(lanes)]
        self.fill(tasks, lambda number: self.task(places[number % lanes]))

    def dispatch(self, releases: int = UNBOUND, *, most_calls: int = UNBOUND) -> int:
        """Dispatch until so many are released, nothing is due, or the calls are used up. Returns how many were released."""
        released = 0
        for _ in range(most_calls):
            dispatched = self.scheduler.dispatch(BUDGET)
            released += dispatched.released
            if released >= releases or dispatched.next_in_s is None or dispatched.next_in_s > 0:
                break
        return released

    def let_time_come(self, waited_for: str) -> None:
        """Make all due that waits for its time in one of the realm's sorted sets."""
        self.client.zunionstore(self.keys(waited_for), {self.keys(waited_for): 0})

    def work(self, tasks: int) -> None:
        """Start and end so many tasks, one after the other, as workers do. Each lets the next one go."""
        for _ in range(tasks):
            headers: dict[str, Any] = json.loads(cast("bytes", self.client.rpop(self.queue)))["headers"]
            task, fence = headers["id"], headers[FENCE_HEADER]
            assert self.scheduler.claim(task, fence, "worker"), "the claim is stale"
            assert self.scheduler.finish(task, fence), "the end is stale"

    def now_us(self) -> int:
        """The server's time."""
        seconds, micros = self.client.time()
        return seconds * SECOND_US + micros


class _Batch:
    """Stands in for a client: sends commands by the hundred, and says `waiting` to each script at once."""

    def __init__(self, client: Redis) -> None:
        self._connection: Any = client.connection_pool.get_connection()
        self._release = client.connection_pool.release
        self._packed, self._commands = list[bytes](), 0

    def execute_command(self, *command: str | bytes | float) -> list[bytes]:
        self._packed += self._connection.pack_command(*command)
        self._commands += 1
        if self._commands == _BATCH:
            self._send()
        return [b"waiting"]

    def close(self) -> None:
        self._send()
        self._release(self._connection)

    def _send(self) -> None:
        self._connection.send_packed_command([b"".join(self._packed)])
        for _ in range(self._commands):
            self._connection.read_response()
        self._packed, self._commands = [], 0
