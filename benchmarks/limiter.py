from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import Bench
from figure import Figure
from realm import UNBOUND
from redis import Redis
from spread import Spread, interleave, ratio

from turgor.limits import HierarchicalLimiter, Limit, Limiter, LimitKind
from turgor.limits.server import connect

_GOAL = 0.9
_LUA = Path(__file__).parent / "lua"
_MINUTE_US = 60_000_000
_BUCKET = Limit(LimitKind.BUCKET, UNBOUND, period_us=_MINUTE_US, refill=_MINUTE_US)
_WINDOW = Limit(LimitKind.WINDOW, UNBOUND, period_us=_MINUTE_US)


def measure(bench: Bench) -> Iterator[Figure]:
    """One decision after the other, by one caller: a limiter against the least script that is exact, called through the same
    redis-py client. Nobody is refused.
    """
    with connect(bench.server.database(0)) as client:
        calls = bench.size(20, 1_000)
        contenders = {name: _timed(call, calls) for name, call in _contenders(client).items()}
        found = interleave(bench.size(1, 15), contenders)
    for name, rates in found.items():
        yield Figure(f"calls a second, {name}", f"{Spread.of(rates):,.0f}")
    for name, base, goal in (
        ("Limiter.try_consume, a bucket", "one bare GCRA", _GOAL),
        ("Limiter.check_and_consume, a bucket", "one bare GCRA", _GOAL),
        ("Limiter.try_consume, a window", "one bare GCRA", None),
        ("HierarchicalLimiter.acquire, three windows", "three bare GCRAs in one script", _GOAL),
    ):
        share = ratio(found, name, base)
        yield Figure(f"{name} / {base}", f"{share:.2f}", f"≥ {goal:.2f}" if goal else "", share.median >= goal if goal else None)


def _contenders(client: Redis) -> dict[str, Callable[[], Any]]:
    one, three = (client.script_load((_LUA / name).read_text()) for name in ("gcra.lua", "gcra_three.lua"))
    bucket, window = Limiter(client, "bucket", (_BUCKET,)), Limiter(client, "window", (_WINDOW,))
    table = {"requests_per_minute": UNBOUND}
    levels = HierarchicalLimiter(client, {"global": table, "services": {"api": table}, "loops": {"*": table}})
    return {
        "one bare GCRA": lambda: client.evalsha(one, 1, "{bare}:0", UNBOUND, 1, 1),
        "Limiter.try_consume, a bucket": bucket.try_consume,
        "Limiter.check_and_consume, a bucket": bucket.check_and_consume,
        "Limiter.try_consume, a window": window.try_consume,
        "three bare GCRAs in one script": lambda: client.evalsha(
            three, 3, "{bare}:1", "{bare}:2", "{bare}:3", 1, UNBOUND, 1, UNBOUND, 1, UNBOUND, 1
        ),
        "HierarchicalLimiter.acquire, three windows": lambda: levels.acquire(service="api", loop="planner-7"),
    }


def _timed(call: Callable[[], Any], calls: int) -> Callable[[], float]:
    def rate() -> float:
        started = time.perf_counter()
        for _ in range(calls):
            call()
        return calls / (time.perf_counter() - started)

    rate()
    return rate
