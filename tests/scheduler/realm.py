"""A realm under test: the real scripts on a real server, with the time in the test's hands.

`Realm` does what producers, dispatchers and workers do. `State` is all that the scripts have stored, read
in one call: the only place in the tests that knows how the scheduler lays out its keys.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, cast

from redis import Redis

from turgor.limits.config import LimitsConfig
from turgor.limits.keys import Keys
from turgor.limits.outcome import Outcome
from turgor.limits.quantile import QuantileState
from turgor.limits.registry import LimitsRegistry
from turgor.limits.regulator import Regulator
from turgor.limits.scope import TaskScopes
from turgor.scheduler.coalesce_key import CoalesceKey
from turgor.scheduler.lane import Lane, Priority
from turgor.scheduler.outbox import Outbox, Release, Taken
from turgor.scheduler.scheduler import SCRIPTS, SECOND_US, Cancelled, Dispatched, Scheduler, Settled
from turgor.scheduler.waiting_task import CoalescedInto, Submitted, WaitingTask

EPOCH_US = 1_700_000_000_000_000
FIELD, RECORD = "\x1f", "\x1e"


def lane(
    service: str = "",
    endpoint: str = "",
    *,
    loop_type: str = "",
    loop: str = "",
    queue: str = "q",
    priority: int = Priority.NORMAL,
    unlimited: bool = False,
) -> Lane:
    scopes = TaskScopes() if unlimited else TaskScopes(service, endpoint, loop_type, loop)
    return Lane(queue, priority, scopes, unlimited)


class Message(NamedTuple):
    """What a worker reads in a released envelope."""

    task: str
    fence: str

    @classmethod
    def read(cls, envelope: bytes) -> Message:
        content = json.loads(envelope)
        return cls(content["task"], str(content["fence"]))


def template(task: str) -> bytes:
    return json.dumps({"task": task, "fence": "FENCE", "tag": "TAG"}).encode().replace(b'"FENCE"', b"\0").replace(b"TAG", b"\0")


class _Later:
    """Stands in for a client: commands are sent together, and their replies are not looked at."""

    def __init__(self, client: Redis) -> None:
        self._pipeline = client.pipeline(transaction=False)

    def execute_command(self, *command: Any) -> list[bytes]:
        self._pipeline.execute_command(*command)
        if len(self._pipeline) >= 1_000:
            self.send()
        return [b"waiting"]

    def send(self) -> None:
        self._pipeline.execute()


class Realm:
    """One realm, its clock and its broker queues.

    Parameters
    ----------
    client:
        On an empty database, which is the realm's own.
    limits:
        Tables as `limits.toml` has them; None publishes nothing.
    """

    def __init__(
        self,
        client: Redis,
        limits: dict[str, Any] | None = None,
        *,
        name: str = "test",
        claim_within_s: float = 5.0,
        lease_s: float = 10.0,
    ) -> None:
        self.client, self.keys = client, Keys(name)
        self.scheduler = Scheduler(client, self.keys, claim_within_s=claim_within_s, lease_s=lease_s)
        self.outbox = Outbox(client, self.keys, claim_within_s=claim_within_s)
        self.regulator = Regulator(client, self.keys)
        self.now_us = EPOCH_US
        self._tokens = (b"%08d" % number for number in itertools.count())
        if limits is not None:
            self.publish(limits)

    def publish(self, limits: dict[str, Any]) -> int:
        return LimitsRegistry(self.client, self.keys).publish(LimitsConfig.load(limits))

    def tick(self, seconds: float) -> None:
        self.now_us += round(seconds * SECOND_US)

    def task(
        self,
        name: str,
        to: Lane,
        *,
        weight: int = 1,
        tokens: int = 0,
        due_in_s: float | None = None,
        max_wait_s: float | None = None,
        deadline_in_s: float | None = None,
        continues: bool = False,
        token: bytes | None = None,
        key: str = "",
    ) -> WaitingTask:
        """A new task; its key is `=a` for one that counts always, `~a` for one that counts where there is no room."""
        due_us = None if due_in_s is None else self.now_us + round(due_in_s * SECOND_US)
        deadline_us = None if deadline_in_s is None else self.now_us + round(deadline_in_s * SECOND_US)
        bounds = (due_us, max_wait_s, deadline_us)
        stored = CoalesceKey(key[1:], always=key[0] == "=").mark(template(name)) if key else template(name)
        return WaitingTask(name, token or next(self._tokens), to, stored, weight, tokens, *bounds, continues)

    def submit(self, name: str, to: Lane, **options: Any) -> Submitted | CoalescedInto:
        """Submit a new task; the options are those of `task`."""
        return self.submit_task(self.task(name, to, **options))

    def submit_many(self, tasks: Iterable[WaitingTask]) -> None:
        """Submit so many tasks that it would take long to wait for each reply."""
        later = _Later(self.client)
        scheduler = Scheduler(cast("Redis", later), self.keys, claim_within_s=self.scheduler.claim_within_s)
        for script in SCRIPTS:
            self.client.script_load(script.source)
        for task in tasks:
            scheduler.submit(task, now_us=self.now_us)
        later.send()

    def submit_task(self, task: WaitingTask) -> Submitted | CoalescedInto:
        return self.scheduler.submit(task, now_us=self.now_us)

    def dispatch(self, budget: int = 100) -> Dispatched:
        return self.scheduler.dispatch(budget, now_us=self.now_us)

    def take(self, queue: str = "q") -> Message | None:
        """What kombu does: the oldest message leaves the broker's queue."""
        envelope = cast("bytes | None", self.client.rpop(queue))
        return Message.read(envelope) if envelope else None

    def take_releases(self, most: int = 100, within_s: float = 20.0) -> Taken:
        return self.outbox.take(most, within_s, now_us=self.now_us)

    def confirm(self, releases: Iterable[Release]) -> int:
        return self.outbox.confirm(releases, now_us=self.now_us)

    def claim(self, message: Message, claimant: str = "worker") -> bool:
        return self.scheduler.claim(*message, claimant, now_us=self.now_us)

    def settle_tokens(self, message: Message, tokens: int, name: str = "") -> Settled:
        return self.scheduler.settle_tokens(*message, tokens, name=name, now_us=self.now_us)

    def finish(self, message: Message, outcome: Outcome | None = None) -> bool:
        """End a task; an outcome that is given is counted."""
        return self.scheduler.finish(*message, outcome or Outcome.OK, counted=outcome is not None, now_us=self.now_us)

    def put_back(self, message: Message) -> bool:
        return self.scheduler.put_back(*message, now_us=self.now_us)

    def throttle(self, message: Message, seconds: float) -> bool:
        return self.scheduler.throttle(*message, seconds, now_us=self.now_us)

    def renew(self, *messages: Message) -> int:
        return self.scheduler.renew(messages, now_us=self.now_us)

    def attend(self, worker: str, slots: dict[str, int], *, silence_s: float = 20.0) -> None:
        self.scheduler.attend(worker, slots, silence_s=silence_s, now_us=self.now_us)

    def cancel(self, name: str, to: Lane, *, weight: int = 1, tokens: int = 0) -> Cancelled:
        return self.scheduler.cancel(name, to, weight=weight, tokens=tokens, now_us=self.now_us)

    def released(self, queue: str = "q") -> list[str]:
        """Names of the tasks in the broker's queue, oldest first."""
        envelopes = cast("list[bytes]", self.client.lrange(queue, 0, -1))
        return [Message.read(envelope).task for envelope in reversed(envelopes)]

    def work(self, *queues: str, outcome: Outcome | None = None) -> list[str]:
        """Run all that lies in the broker's queues, to this end. Returns the names, in the order of their starts."""
        done: list[str] = []
        for queue in queues or ("q",):
            while message := self.take(queue):
                if self.claim(message):
                    done.append(message.task)
                    self.finish(message, outcome)
        return done

    def work_until(
        self, end_us: int, *queues: str, calls: int = 100_000, outcome: Outcome | None = None
    ) -> list[tuple[int, str]]:
        """Let a dispatcher and a worker go on until `end_us`. Returns (time, name) of each start."""
        log: list[tuple[int, str]] = []
        for _ in range(calls):
            log += ((self.now_us, name) for name in self.work(*queues, outcome=outcome))
            dispatched = self.dispatch()
            log += ((self.now_us, name) for name in self.work(*queues, outcome=outcome))
            if dispatched.next_in_s is None or self.now_us + dispatched.next_in_s * SECOND_US > end_us:
                self.now_us = end_us
                return log
            self.tick(dispatched.next_in_s)
        message = f"{calls} calls, and the time has come to {(self.now_us - EPOCH_US) / SECOND_US} s only"
        raise AssertionError(message)

    def state(self) -> State:
        return State.read(self.client, self.keys)


class Lease(NamedTuple):
    fence: str
    claimant: str
    lane: str


_DUMP = """
local read = {
  string = function(name) return redis.call('GET', name) end,
  hash = function(name) return redis.call('HGETALL', name) end,
  list = function(name) return redis.call('LRANGE', name, 0, -1) end,
  set = function(name) return redis.call('SMEMBERS', name) end,
  zset = function(name) return redis.call('ZRANGE', name, 0, -1, 'WITHSCORES') end,
  stream = function(name) return redis.call('XLEN', name) end,
}
local dump = {}
for _, name in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', name).ok
  dump[#dump + 1] = {name, kind, read[kind](name)}
end
return dump
"""
_AS: dict[bytes, Callable[[Any], Any]] = {
    b"string": lambda value: value,
    b"hash": lambda value: {name.decode(): content for name, content in zip(value[::2], value[1::2], strict=True)},
    b"list": lambda value: value,
    b"stream": int,
    b"set": set,
    b"zset": lambda value: {member.decode(): float(score) for member, score in zip(value[::2], value[1::2], strict=True)},
}


@dataclass(frozen=True)
class State:
    """All that a realm has stored.

    Parameters
    ----------
    keys:
        By name without the realm's prefix; hashes and sorted sets as dicts, these in their order.
    queues:
        The broker's lists, newest first.
    """

    keys: dict[str, Any]
    queues: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])

    @classmethod
    def read(cls, client: Redis, keys: Keys) -> State:
        prefix = keys("").encode()
        own: dict[str, Any] = {}
        queues: dict[str, list[bytes]] = {}
        for name, kind, value in cast("list[Any]", client.eval(_DUMP, 0)):
            if name.startswith(prefix):
                own[name[len(prefix) :].decode()] = _AS[kind](value)
            else:
                queues[name.decode()] = value
        return cls(own, queues)

    def _family(self, prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): value for name, value in self.keys.items() if name.startswith(prefix)}

    @cached_property
    def messages(self) -> dict[str, bytes]:
        """The token and the template of each message."""
        return {name: stored[:8] + stored[16:] for name, stored in self.keys.get("message", {}).items()}

    @cached_property
    def since(self) -> dict[str, int]:
        """Since when each task waits."""
        return {name: round(struct.unpack_from("<d", stored, 8)[0]) for name, stored in self.keys.get("message", {}).items()}

    @cached_property
    def lanes(self) -> dict[str, list[str]]:
        """Names of the tasks in each lane, next one first."""
        return {
            name: [element.decode().split(FIELD, 2)[2] for element in elements]
            for name, elements in self._family("lane:").items()
        }

    @cached_property
    def ready(self) -> list[str]:
        return list(self.keys.get("ready", {}))

    @cached_property
    def gates(self) -> dict[str, list[str]]:
        """Lanes parked at each gate (`scope|unit`), best first."""
        return {name: list(lanes) for name, lanes in self._family("gate:").items()}

    @cached_property
    def wakes(self) -> dict[str, float]:
        return self.keys.get("wakes", {})

    def _entries(self, key: str) -> list[tuple[str, str, int]]:
        found: list[tuple[str, str, int]] = []
        for entry, time in self.keys.get(key, {}).items():
            name, element, *_ = entry.split(RECORD)
            found.append((name, element.split(FIELD, 2)[2], int(time)))
        return found

    @cached_property
    def delayed(self) -> list[tuple[str, str, int]]:
        """Lane, task and time of what is not due yet, in order."""
        return self._entries("delayed")

    @cached_property
    def overdue(self) -> list[tuple[str, str, int]]:
        """Lane, task and time of what has waited too long then, in order."""
        return self._entries("deadlines")

    @cached_property
    def expired(self) -> set[str]:
        """Names of the tasks that have waited too long, and whose caller is not told yet."""
        return set(self.keys.get("expired", {}))

    @cached_property
    def leases(self) -> dict[str, Lease]:
        found: dict[str, Lease] = {}
        for task, record in self.keys.get("lease", {}).items():
            fence, claimant, *rest = record.decode().split(RECORD)
            found[task] = Lease(fence, claimant, next(name for name in rest if FIELD in name))
        return found

    @cached_property
    def deadlines(self) -> dict[str, int]:
        """When each lease lapses."""
        return {task: int(time) for task, time in self.keys.get("leases", {}).items()}

    @cached_property
    def releasing(self) -> dict[tuple[str, str], float]:
        """What lies in the outbox, by fence and task: the fence of what nobody has taken, or when another may take it."""
        found: dict[str, float] = self.keys.get("releasing", {})
        return {(entry.partition(RECORD)[0], entry.partition(RECORD)[2]): score for entry, score in found.items()}

    @cached_property
    def unclaimed(self) -> dict[str, int]:
        return {queue: int(count) for queue, count in self.keys.get("unclaimed", {}).items()}

    @cached_property
    def redelivered(self) -> dict[str, int]:
        return {task: int(times) for task, times in self.keys.get("redelivered", {}).items()}

    @cached_property
    def run_times(self) -> dict[str, str]:
        """`mean_us weight` of each service, and of all as `*`."""
        return {service: record.decode() for service, record in self.keys.get("run_times", {}).items()}

    @cached_property
    def learned(self) -> dict[str, tuple[int, ...]]:
        """The costs that are remembered of each task, by its name."""
        return {name: QuantileState.unpack(packed).values for name, packed in self.keys.get("estimates", {}).items()}

    @cached_property
    def backlog(self) -> dict[str, tuple[int, int]]:
        """Tasks and bytes that wait, by scope, where there is a cap."""
        counts = {name: int(count) for stored in self._family("backlog:").values() for name, count in stored.items()}
        return {scope: (tasks, counts[f"{scope}|bytes"]) for scope, tasks in counts.items() if not scope.endswith("|bytes")}

    @cached_property
    def keyed(self) -> list[tuple[str, int, str]]:
        """Key, time and task of what waits under a key, in order."""
        members = (member.split(RECORD) for member in self.keys.get("keyed", {}))
        return [(key, int(since), task) for key, since, task in members]

    @cached_property
    def filling(self) -> set[str]:
        """The caps whose counts are not whole yet."""
        return {cap.decode() for cap in self.keys.get("filling", ())}

    @cached_property
    def holding(self) -> set[str]:
        """Lanes that keep one limit shut until another one opens."""
        return {name.decode() for name in self.keys.get("holding", ())}

    @property
    def bell(self) -> bool:
        return "bell" in self.keys

    @property
    def version(self) -> str:
        return self.keys.get("version", b"0").decode()

    @cached_property
    def limits(self) -> dict[str, Any]:
        """State of each limit, by `scope:id`: bytes of a window or a bucket, holders of the slots in flight."""
        return self._family("limit:")

    @cached_property
    def shadowed(self) -> dict[str, bytes]:
        """How often each shadow limit would have refused, by `scope:id`."""
        return self._family("shadowed:")

    def due_us(self) -> float:
        """When a dispatcher has something to do, leases apart."""
        times = [*self.wakes.values(), *(time for _, _, time in (*self.delayed, *self.overdue))]
        return 0 if self.ready else min(times, default=float("inf"))


def bucket_is_full_us(stored: bytes) -> float:
    """When a stored token bucket is full again."""
    return struct.unpack_from("<d", stored)[0]


class Window(NamedTuple):
    """The stored state of a sliding window."""

    used: float
    held: float
    pairs: list[tuple[float, float]]

    @classmethod
    def unpack(cls, stored: bytes | None) -> Window:
        if not stored:
            return cls(0, 0, [])
        used, held, *rest = struct.unpack(f"<{len(stored) // 8}d", stored)
        return cls(used, held, list(zip(rest[::2], rest[1::2], strict=True)))
