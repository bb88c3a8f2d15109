"""Eight clients at once: every level of an admitted call is charged, none of a refused one, accounted for to the last key."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from limit_calls import Calls, keys_of
from turgor.limits import Call, HierarchicalLimiter, Limit, LimitKind, LimitsConfig, TaskScopes, Unit
from turgor.limits.account_book import AccountBook
from turgor.limits.keys import Keys
from turgor.limits.sliding_window import WindowState
from turgor.limits.token_bucket import BucketState

from .spender import NOW_US, Spent, spend

SPENDER = Path(__file__).with_name("spender.py")
CLIENTS = 8
LIMITS: dict[str, Any] = {
    "global": {"requests_per_minute": 900, "token_limits": {"per_hour": 9_000}},
    "services": {
        "llm": {
            "requests_per_minute": 500,
            "burst_capacity": 400,
            "max_in_flight": 190,
            "token_limits": {"per_minute": 3_500},
            "endpoints": {"chat": {"requests_per_minute": 130, "max_in_flight": 60}, "*": {"requests_per_minute": 200}},
        },
        "git": {"requests_per_hour": 260},
    },
    "loop_types": {"planner": {"requests_per_minute": 250}, "*": {"requests_per_minute": 240, "burst_capacity": 230}},
    "loops": {"*": {"requests_per_minute": 120}, "vip": {"max_in_flight": 50}},
}


def by_processes(url: str, realm: str) -> Iterable[Spent]:
    clients = [
        subprocess.Popen([sys.executable, SPENDER, url, realm, str(seed)], stdout=subprocess.PIPE) for seed in range(CLIENTS)
    ]
    outputs = [client.communicate()[0] for client in clients]
    assert [client.returncode for client in clients] == [0] * CLIENTS
    return [tuple(spent) for output in outputs for spent in json.loads(output)]


def by_threads(url: str, realm: str) -> Iterable[Spent]:
    limiter = HierarchicalLimiter(url, realm=realm)

    def spend_all(seed: int) -> list[Spent]:
        return list(spend(limiter, seed))

    with ThreadPoolExecutor(CLIENTS) as pool:
        spent = list(pool.map(spend_all, range(CLIENTS)))
    limiter.close()
    return [each for some in spent for each in some]


@pytest.mark.parametrize("clients", [by_processes, by_threads])
def test_every_key_has_counted_what_was_admitted_and_nothing_else(
    server_url: str, redis_client: Redis, realm: str, clients: Any
) -> None:
    HierarchicalLimiter(redis_client, LIMITS, realm=realm).refresh()

    spent = list(clients(server_url, realm))

    book, charged = AccountBook(LimitsConfig.load(LIMITS)), defaultdict[tuple[str, Limit], list[Spent]](list)
    for each in spent:
        call = Call(*each[:6])
        for scope in TaskScopes(call.service, call.endpoint, call.loop_type, call.loop).names:
            for _, limit in book.of_scope(scope).limits:
                if limit.unit is Unit.REQUESTS or call.tokens:
                    charged[scope, limit].append(each)
    calls, full = Calls(redis_client, Keys(realm)), set[str]()
    assert {calls.key(*each) for each in charged} == set(keys_of(redis_client, f"{calls.keys.prefix}:limit:*"))
    for (scope, limit), some in charged.items():
        if check(calls, scope, limit, some):
            full.add(f"{scope} {limit.id}")
    assert len(full) >= 5, "the crowd ran into limits at several levels"


def check(calls: Calls, scope: str, limit: Limit, spent: list[Spent]) -> bool:
    """Hold one key against the calls that it has counted. Returns whether the limit is nearly used up."""
    units = [each[5] if limit.unit is Unit.TOKENS else each[4] for each in spent]
    match calls.state(scope, limit):
        case WindowState() as window:
            assert (window.used, window.held) == (sum(units), 0), (scope, limit)
        case BucketState() as bucket:
            owed_us = sum(math.ceil(each * limit.period_us / limit.refill) for each in units)
            assert bucket.arrival_us - NOW_US == owed_us, (scope, limit)
        case slots:
            assert set(slots) == {each[6] for each in spent}, (scope, limit)
            units = [1] * len(units)
    assert sum(units) <= limit.capacity or limit.kind is LimitKind.BUCKET, (scope, limit)
    return sum(units) > 0.97 * limit.capacity
