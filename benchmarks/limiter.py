from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import Bench
from figure import Figure
from peers import Ask, missing, peers
from realm import UNBOUND
from redis import Redis
from spread import Rounds, Spread, interleave, ratio

from turgor.limits import Call, HierarchicalLimiter, Limit, Limiter, LimitKind
from turgor.limits.server import connect

_GOAL, _BATCH_GOAL = 0.9, 4.5
_BATCH = 100
_LUA = Path(__file__).parent / "lua"
_MINUTE_US = 60_000_000
_BUCKET = Limit(LimitKind.BUCKET, UNBOUND, period_us=_MINUTE_US, refill=_MINUTE_US)
_WINDOW = Limit(LimitKind.WINDOW, UNBOUND, period_us=_MINUTE_US)
_TIGHT = 50
_ONE, _THREE = "one bare GCRA", "three bare GCRAs in one script"
_RATIOS = (
    ("Limiter.try_consume, a bucket", _ONE, _GOAL),
    ("Limiter.check_and_consume, a bucket", _ONE, _GOAL),
    ("Limiter.try_consume, a window", _ONE, None),
    ("Limiter.acquire_many of 100, a bucket", _ONE, _BATCH_GOAL),
    ("HierarchicalLimiter.acquire, three windows", _THREE, _GOAL),
    ("HierarchicalLimiter.acquire_many of 100, three windows", _THREE, _BATCH_GOAL),
)


def measure(bench: Bench) -> Iterator[Figure]:
    """Decisions by one caller: a limiter against the least script that is exact, called through the same redis-py client.
    Nobody is refused. Beside it, libraries of PyPI at the same work; three levels are three calls there, so that what a wider
    level has charged stays charged when a narrower one refuses. Last, the most that each of them has admitted in any second
    (less 20 ms for the way back) under a limit of 50 a second, when a caller hammers it after a while of silence.
    """
    url = bench.server.database(0)
    with connect(url) as client:
        others = list(_others(url))
        calls = bench.size(20, 1_000)
        contenders = {name: _timed(call, max(1, calls // each), each) for name, (call, each) in _contenders(client).items()}
        contenders |= {name: _timed(call, calls, 1) for name, call, _ in others}
        found = interleave(bench.size(1, 15), contenders)
        yield from _figures(found, [(name, base) for name, _, base in others])
        yield from _admitted(client, url, bench.size(0, 1))
    for package in missing():
        yield Figure(package, "not installed; the extra `bench` has it")


def _figures(found: Rounds, others: list[tuple[str, str]]) -> Iterator[Figure]:
    for name in (_ONE, _THREE, *(name for name, _, _ in _RATIOS)):
        yield Figure(f"decisions a second, {name}", f"{Spread.of(found[name]):,.0f}")
    for name, base, goal in _RATIOS:
        share = ratio(found, name, base)
        yield Figure(f"{name} / {base}", f"{share:.2f}", f"≥ {goal:.2f}" if goal else "", share.median >= goal if goal else None)
    for name, base in others:
        yield Figure(f"{name} / {base}", f"{ratio(found, name, base):.2f}")


def _contenders(client: Redis) -> dict[str, tuple[Callable[[], Any], int]]:
    """What is called, and how many decisions a call makes."""
    one, three = (client.script_load((_LUA / name).read_text()) for name in ("gcra.lua", "gcra_three.lua"))
    bucket, window = Limiter(client, "bucket", (_BUCKET,)), Limiter(client, "window", (_WINDOW,))
    table = {"requests_per_minute": UNBOUND}
    levels = HierarchicalLimiter(client, {"global": table, "services": {"api": table}, "loops": {"*": table}})
    costs, batch = [1] * _BATCH, [Call("api", loop="planner-7")] * _BATCH
    return {
        _ONE: (lambda: client.evalsha(one, 1, "{bare}:0", UNBOUND, 1, 1), 1),
        "Limiter.try_consume, a bucket": (bucket.try_consume, 1),
        "Limiter.check_and_consume, a bucket": (bucket.check_and_consume, 1),
        "Limiter.try_consume, a window": (window.try_consume, 1),
        "Limiter.acquire_many of 100, a bucket": (lambda: bucket.acquire_many(costs), _BATCH),
        _THREE: (
            lambda: client.evalsha(three, 3, "{bare}:1", "{bare}:2", "{bare}:3", 1, UNBOUND, 1, UNBOUND, 1, UNBOUND, 1),
            1,
        ),
        "HierarchicalLimiter.acquire, three windows": (lambda: levels.acquire(service="api", loop="planner-7"), 1),
        "HierarchicalLimiter.acquire_many of 100, three windows": (lambda: levels.acquire_many(batch), _BATCH),
    }


def _others(url: str) -> Iterator[tuple[str, Ask, str]]:
    """Name, what is called, and what it is compared with."""
    for peer in peers(url):
        yield f"{peer.name}, one limit", peer.one(UNBOUND), _ONE
        yield f"{peer.name}, three levels", peer.three(UNBOUND), _THREE


def _timed(call: Callable[[], Any], calls: int, each: int) -> Callable[[], float]:
    def rate() -> float:
        started = time.perf_counter()
        for _ in range(calls):
            call()
        return calls * each / (time.perf_counter() - started)

    rate()
    return rate


def _admitted(client: Redis, url: str, seconds: float) -> Iterator[Figure]:
    """How many of a limit of 50 a second each of them admits in the worst second."""
    window = Limiter(client, "tight", requests_per_second=_TIGHT)
    tight: list[tuple[str, Ask]] = [("Limiter, a window", window.try_consume)]
    tight += [(peer.name, peer.budget("tight", _TIGHT, "second")) for peer in peers(url)]
    for name, ask in tight:
        most = _most_in_a_second(ask, seconds)
        goal = f"≤ {_TIGHT}" if ask == window.try_consume else ""
        yield Figure(f"most in any second of a limit of {_TIGHT}, {name}", f"{most}", goal, most <= _TIGHT if goal else None)


def _most_in_a_second(ask: Ask, seconds: float) -> int:
    """Be silent until a second is nearly over, then hammer across its end."""
    time.sleep((0.9 - time.time() % 1.0) % 1.0 * min(1.0, seconds))
    end, times = time.perf_counter() + 0.05 + 2.2 * seconds, list[float]()
    while (now := time.perf_counter()) < end:
        if ask():
            times.append(now)
    first = most = 0
    for last, at in enumerate(times):
        while times[first] <= at - 0.98:
            first += 1
        most = max(most, last - first + 1)
    return most
