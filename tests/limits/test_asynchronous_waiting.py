"""Waiting with asyncio does what waiting with threads does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from redis import Redis

from limit_calls import OwnServer, keys_of, most_in_any_window
from turgor.limits import AsyncHierarchicalLimiter, AsyncLimiter, AsyncRateToken, RateLimited, ServerUnreachable
from turgor.limits.link import AsyncLink
from turgor.limits.lua import Script

LIMITS: dict[str, Any] = {
    "services": {
        "fast": {"windows": [{"limit": 5, "per": "200ms"}]},
        "slow": {"requests_per_minute": 1},
        "slots": {"max_in_flight": 1},
    },
}
Work = Callable[[AsyncHierarchicalLimiter], Coroutine[Any, Any, None]]


@pytest.fixture
def run(server_url: str, redis_client: Redis, realm: str) -> Callable[[Work], None]:
    def run(work: Work) -> None:
        async def main() -> None:
            async with AsyncHierarchicalLimiter(server_url, LIMITS, realm=realm) as limiter:
                await limiter.refresh()
                await work(limiter)

        asyncio.run(main())

    return run


@pytest.fixture
def script_calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many scripts the limiters of this process have run. A server may be shared, so it is not asked."""
    ran = [0]
    run = AsyncLink.run

    async def counted(link: AsyncLink, script: Script, *values: str | bytes | float) -> Any:
        ran[0] += 1
        return await run(link, script, *values)

    monkeypatch.setattr(AsyncLink, "run", counted)
    return lambda: ran[0]


def waiting(client: Redis) -> int:
    return sum(client.zcard(key) for key in keys_of(client, "*:line:*"))


def charged_at_us(token: Any) -> int:
    return int(token._reply[5])


async def in_line(client: Redis, acquire: Coroutine[Any, Any, AsyncRateToken]) -> asyncio.Task[AsyncRateToken]:
    before, task = waiting(client), asyncio.create_task(acquire)
    async with asyncio.timeout(10):
        while waiting(client) == before:  # noqa: ASYNC110  what is waited for is in the server
            await asyncio.sleep(0.005)
    return task


def test_twenty_tasks_break_no_window_and_call_the_server_a_few_times_each(
    run: Callable[[Work], None], redis_client: Redis, script_calls: Callable[[], int]
) -> None:
    async def work(limiter: AsyncHierarchicalLimiter) -> None:
        while await limiter.try_acquire(service="fast"):
            pass
        before = script_calls()

        tokens = await asyncio.gather(*(limiter.acquire(service="fast", timeout=10) for _ in range(20)))

        times = sorted(charged_at_us(token) for token in tokens)
        assert most_in_any_window([(at_us, 1) for at_us in times], 200_000) == 5
        assert script_calls() - before <= 4 * 20
        assert waiting(redis_client) == 0

    run(work)


def test_tasks_are_served_in_their_order(run: Callable[[Work], None], redis_client: Redis) -> None:
    order: list[int] = []

    async def work(limiter: AsyncHierarchicalLimiter) -> None:
        async def hold(number: int) -> AsyncRateToken:
            async with await limiter.acquire(service="slots", timeout=20) as token:
                order.append(number)
            return token

        running = await limiter.acquire(service="slots")
        tasks = [await in_line(redis_client, hold(number)) for number in range(8)]
        assert await limiter.try_acquire(service="slots") is None
        await running.ok()
        await asyncio.gather(*tasks)

    run(work)
    assert order == [*range(8)]


def test_a_cancelled_task_gives_up_its_place(run: Callable[[Work], None], redis_client: Redis) -> None:
    async def work(limiter: AsyncHierarchicalLimiter) -> None:
        running = await limiter.acquire(service="slots")
        head = await in_line(redis_client, limiter.acquire(service="slots", timeout=20))
        behind = await in_line(redis_client, limiter.acquire(service="slots", timeout=20))
        head.cancel()
        with pytest.raises(asyncio.CancelledError):
            await head
        assert waiting(redis_client) == 1
        await running.ok()
        await behind

    run(work)


def test_deadlines_and_hopeless_waits_refuse(
    run: Callable[[Work], None], redis_client: Redis, script_calls: Callable[[], int]
) -> None:
    async def work(limiter: AsyncHierarchicalLimiter) -> None:
        await limiter.acquire(service="slow")
        before = script_calls()
        with pytest.raises(RateLimited):
            await limiter.acquire(service="slow", timeout=5)
        assert script_calls() == before + 1

        await limiter.acquire(service="slots")
        with pytest.raises(RateLimited, match="service:slots in_flight"):
            await limiter.acquire(service="slots", timeout=0.2)
        assert waiting(redis_client) == 0

    run(work)


def test_one_scope_waits_too(server_url: str, redis_client: Redis, realm: str) -> None:
    async def main() -> None:
        async with AsyncLimiter(server_url, "x", realm=realm, max_in_flight=1) as limiter:
            running = await limiter.acquire()
            task = await in_line(redis_client, limiter.acquire(timeout=20))
            await running.ok()
            await (await task).ok()

    asyncio.run(main())


def test_tasks_ride_out_a_restart_of_the_server(own_server: OwnServer, realm: str) -> None:
    async def main() -> None:
        async with AsyncHierarchicalLimiter(own_server.url, LIMITS, realm=realm) as limiter:
            running = await limiter.acquire(service="slots")
            task = await in_line(own_server.client(), limiter.acquire(service="slots", timeout=40))
            await asyncio.to_thread(own_server.kill)
            with pytest.raises(ServerUnreachable):
                await limiter.acquire(service="slots", timeout=40)
            await asyncio.to_thread(own_server.restart)
            await running.ok()
            assert (await task).decision.allowed

    asyncio.run(main())
