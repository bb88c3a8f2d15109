"""What a restart does to limits: nothing, unless it is Redis that has lost its data."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from limit_calls import START_US, OwnServer, keys_of
from turgor.limits import AsyncHierarchicalLimiter, Call, HierarchicalLimiter, RateToken
from turgor.limits.limit import SECOND_US

from .test_all_or_none import LIMITS as ALL_KINDS

SPENDER = Path(__file__).with_name("spender.py")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    """A server that keeps what it acknowledged (AOF), and that the test may kill."""
    server = OwnServer(tmp_path)
    yield server
    server.stop()


def states(client: Redis) -> dict[str, object]:
    """Every key and what it holds. A hash has no order of its own."""
    return {key: client.hgetall(key) if client.type(key) == b"hash" else client.dump(key) for key in keys_of(client)}


def spend(url: str, realm: str) -> None:
    """A client that comes, spends and goes."""
    subprocess.run([sys.executable, SPENDER, url, realm, "1"], check=True, stdout=subprocess.DEVNULL)


def test_a_restart_of_everything_but_redis_changes_no_state(server_url: str, redis_client: Redis, realm: str) -> None:
    HierarchicalLimiter(redis_client, ALL_KINDS, realm=realm).refresh()
    spend(server_url, realm)
    before = states(redis_client)

    again = HierarchicalLimiter(server_url, ALL_KINDS, realm=realm)
    again.refresh()
    used = [each.used for each in again.usage("service:llm", now_us=START_US)]
    again.close()

    assert states(redis_client) == before
    assert all(used)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_redis_with_aof_that_restarts_keeps_every_state(own_server: OwnServer, realm: str, end: str) -> None:
    with own_server.client() as client:
        limiter = HierarchicalLimiter(client, ALL_KINDS, realm=realm)
        limiter.refresh()
        spend(own_server.url, realm)
        before = states(client)

        getattr(own_server, end)()
        own_server.restart()

        assert states(client) == before
        assert len(before) > 12
        used = [each.used for each in limiter.usage("service:llm", now_us=START_US)]
        assert used == [each.used for each in HierarchicalLimiter(client, realm=realm).usage("service:llm", now_us=START_US)]


TABLES: list[Any] = [
    {"requests_per_minute": 10},
    {"requests_per_minute": 30, "burst_capacity": 10},
    {"max_in_flight": 10},
    {"token_limits": {"per_minute": 10}},
]


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_a_redis_that_loses_its_data_gives_one_burst_more(redis_client: Redis, realm: str, table: dict[str, Any]) -> None:
    """And not more: who had the limits in memory must not go on without them."""
    limiter = HierarchicalLimiter(redis_client, {"services": {"api": table}}, realm=realm)

    def admitted(at_us: int) -> int:
        answers = limiter.acquire_many([Call("api", tokens=1)] * 50, now_us=at_us)
        return sum(isinstance(answer, RateToken) for answer in answers)

    assert admitted(START_US) == 10
    redis_client.flushall()
    limiter.refresh()

    assert admitted(START_US) == 10
    limiter.refresh()
    assert admitted(START_US) == 0
    assert admitted(START_US + SECOND_US // 2) <= 1


def test_limits_that_redis_has_lost_stay_in_force(redis_client: Redis, realm: str) -> None:
    """Who brought them says them again; who had only read them goes on under them. Nobody goes on without limits."""
    tables = {"services": {"api": {"requests_per_minute": 10}}}
    brought, read = (HierarchicalLimiter(redis_client, limits, realm=realm) for limits in (tables, None))
    config = brought.refresh()
    assert read.refresh() == config
    redis_client.flushall()

    assert read.refresh() == config
    assert brought.refresh() == config
    assert HierarchicalLimiter(redis_client, realm=realm).refresh() == config


async def _refresh_twice(url: str, realm: str, client: Redis) -> tuple[object, object]:
    limiter = AsyncHierarchicalLimiter(url, {"services": {"api": {"requests_per_minute": 10}}}, realm=realm)
    before = await limiter.refresh()
    client.flushall()
    after = await limiter.refresh()
    await limiter.close()
    return before, after


def test_asyncio_limiters_tell_it_too(server_url: str, redis_client: Redis, realm: str) -> None:
    before, after = asyncio.run(_refresh_twice(server_url, realm, redis_client))

    assert before == after
    assert HierarchicalLimiter(redis_client, realm=realm).refresh() == before
