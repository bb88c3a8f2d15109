"""Eight clients at once, accounted for to the unit."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from redis import Redis

from limit_calls import START_US
from turgor.limits import HierarchicalLimiter, Unit

CROWD = Path(__file__).with_name("crowd.py")
CLIENTS, CALLS = 8, 150

LIMITS: dict[str, Any] = {
    "global": {"requests_per_minute": 600, "token_limits": {"per_hour": 5_000}},
    "services": {
        "a": {"requests_per_minute": 350, "endpoints": {"x": {"requests_per_minute": 120}}},
        "b": {"requests_per_minute": 400, "burst_capacity": 280, "token_limits": {"per_minute": 2_000}},
    },
    "loops": {"*": {"requests_per_minute": 150}, "p": {"requests_per_minute": 10}},
}


def test_eight_processes_charge_all_levels_or_none(server_url: str, redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, LIMITS, realm=realm)
    limiter.refresh()
    clients = [
        subprocess.Popen([sys.executable, CROWD, server_url, realm, str(seed), str(CALLS)], stdout=subprocess.PIPE)
        for seed in range(CLIENTS)
    ]
    outputs = [client.communicate()[0] for client in clients]

    assert [client.returncode for client in clients] == [0] * CLIENTS
    admitted = [tuple(call) for output in outputs for call in json.loads(output)]
    assert 0 < len(admitted) < CLIENTS * CALLS
    check_accounts(limiter, admitted)


def check_accounts(limiter: HierarchicalLimiter, admitted: list[tuple[str, str, str, int, int]]) -> None:
    """Each limit has counted what was admitted under it: nothing more, nothing less, and not above its capacity."""
    requests, tokens = Counter[str](), Counter[str]()
    for service, endpoint, loop, weight, cost in admitted:
        scopes = ["global", f"service:{service}", f"loop:{loop}", *([f"endpoint:{service}/{endpoint}"] if endpoint else [])]
        for scope in scopes:
            requests[scope] += weight
            tokens[scope] += cost
    binding = 0
    for scope in requests:
        for usage in limiter.usage(scope, now_us=START_US):
            counted = (tokens if usage.limit.unit is Unit.TOKENS else requests)[scope]
            assert usage.limit.capacity - usage.remaining == counted, usage
            assert counted <= usage.limit.capacity
            binding += not usage.remaining
    assert binding >= 3, "the crowd ran into limits at several levels"


def test_eight_threads_share_a_limiter_and_its_slots(redis_client: Redis, realm: str) -> None:
    tables = {"services": {"git": {"max_in_flight": 3, "requests_per_minute": 500}}}
    limiter = HierarchicalLimiter(redis_client, tables, realm=realm)
    running, most, admitted, lock = 0, 0, 0, threading.Lock()

    def work() -> None:
        nonlocal running, most, admitted
        for _ in range(60):
            token = limiter.try_acquire(service="git")
            if token is None:
                continue
            with lock:
                running += 1
                most = max(most, running)
                admitted += 1
                running -= 1
            token.ok()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    by_id = {usage.limit.id: usage.remaining for usage in limiter.usage("service:git")}
    assert 0 < most <= 3
    assert by_id == {"in_flight": 3, "requests/1m": 500 - admitted}
    statistics = limiter.statistics()
    assert (statistics.allowed, statistics.allowed + statistics.refused) == (admitted, 480)
