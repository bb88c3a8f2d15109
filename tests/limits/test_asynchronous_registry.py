"""The registry for asyncio does what the other one does, and both say where nobody answers."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis

from limit_calls import START_US
from turgor.limits import AsyncLimitsRegistry, LimitsRegistry, ServerUnreachable, UnknownVersion, VersionConflict


def test_what_one_applies_the_other_reads(server_url: str, redis_client: Redis, realm: str) -> None:
    other = LimitsRegistry(redis_client, realm)

    async def main() -> None:
        registry = AsyncLimitsRegistry(server_url, realm)
        assert (await registry.version(), await registry.current(), await registry.history()) == (0, None, ())
        first = await registry.apply({"global": {"max_in_flight": 1}}, by="ada", note="why", now_us=START_US)
        assert other.history() == (first,)
        with pytest.raises(VersionConflict):
            await registry.apply({}, expected_version=0)
        with pytest.raises(VersionConflict):
            await registry.amend("global", {"max_in_flight": 2}, expected_version=0)
        await registry.amend("global", {"max_in_flight": 2})
        assert await registry.current() == await registry.at(2) == other.current()
        assert await registry.history() == other.history()
        with pytest.raises(UnknownVersion):
            await registry.at(3)
        await registry.close()

    asyncio.run(main())


def test_a_registry_that_nobody_answers_says_where() -> None:
    url = "redis://127.0.0.1:1/0"
    registry = LimitsRegistry(url)
    for ask in (registry.version, registry.current, registry.history, lambda: registry.apply({}), lambda: registry.at(1)):
        with pytest.raises(ServerUnreachable, match=r"no Redis at redis://127\.0\.0\.1:1/0: "):
            ask()
    registry.close()

    async def main() -> None:
        asynchronous = AsyncLimitsRegistry(url)
        with pytest.raises(ServerUnreachable, match=r"no Redis at redis://127\.0\.0\.1:1/0: "):
            await asynchronous.apply({})
        await asynchronous.close()

    asyncio.run(main())
