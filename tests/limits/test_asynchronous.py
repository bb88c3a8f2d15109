"""The limiters for asyncio do what their namesakes do."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff

from limit_calls import START_US
from turgor.limits import (
    AsyncHierarchicalLimiter,
    AsyncLimiter,
    AsyncRateToken,
    CostTooLarge,
    Decision,
    HierarchicalLimiter,
    Limiter,
    LimiterStatistics,
    LimitsConfig,
    Outcome,
    RateLimited,
    RateToken,
    ServerUnreachable,
    UnknownService,
)
from turgor.limits.asynchronous_registry import AsyncLimitsRegistry
from turgor.limits.asynchronous_view import AsyncLimitsView
from turgor.limits.keys import Keys
from turgor.limits.limit import SECOND_US
from turgor.limits.publication import Answer

LIMITS: dict[str, Any] = {
    "global": {"requests_per_minute": 20},
    "services": {"llm": {"max_in_flight": 2, "token_limits": {"per_minute": 1_000}}},
    "loops": {"*": {"requests_per_minute": 4}},
}

Work = Callable[[AsyncRedis], Awaitable[None]]


@pytest.fixture
def run(server_url: str, redis_client: Redis) -> Callable[[Work], None]:
    """Runs work with a client of its loop."""

    def run(work: Work) -> None:
        async def main() -> None:
            async with AsyncRedis.from_url(server_url) as client:
                await work(client)

        asyncio.run(main())

    return run


def test_the_four_verbs(run: Callable[[Work], None], realm: str) -> None:
    async def work(client: AsyncRedis) -> None:
        limiter = AsyncLimiter(client, "github", realm=realm, requests_per_minute=10, burst_capacity=3)

        assert await limiter.check_and_consume(2, now_us=START_US) == Decision(True, 1, 0.0, 12.0, "github", "burst", 3)
        assert await limiter.available_tokens(now_us=START_US) == 1
        assert await limiter.reset_time(now_us=START_US) == 60.0
        assert [await limiter.try_consume(now_us=START_US) for _ in range(2)] == [True, False]
        with pytest.raises(RateLimited) as refused:
            await limiter.check_and_consume(now_us=START_US)
        assert refused.value.decision == await limiter.peek(now_us=START_US)
        with pytest.raises(CostTooLarge):
            await limiter.check_and_consume(4)
        with pytest.raises(ValueError, match="n: 0 is not allowed"):
            await limiter.try_consume(0)
        assert limiter.statistics() == LimiterStatistics(allowed=2, refused=2, units_allowed=3)

    run(work)


def test_a_token_of_one_scope_frees_its_slot(run: Callable[[Work], None], realm: str) -> None:
    async def work(client: AsyncRedis) -> None:
        limiter = AsyncLimiter(client, "git", realm=realm, max_in_flight=1)

        async with await limiter.acquire() as token:
            assert token.decision.allowed
            with pytest.raises(RateLimited):
                await limiter.acquire()
        assert await limiter.available_tokens() == 1
        with pytest.raises(TypeError, match=r"use acquire\(\)"):
            await limiter.check_and_consume()

    run(work)


def test_all_levels_are_charged_or_none(run: Callable[[Work], None], realm: str) -> None:
    async def work(client: AsyncRedis) -> None:
        limiter = AsyncHierarchicalLimiter(client, LIMITS, realm=realm)

        async def left(scope: str) -> int:
            return (await limiter.usage(scope, now_us=START_US))[0].remaining

        noisy = [await limiter.try_acquire(loop="noisy", now_us=START_US) for _ in range(9)]
        assert [token is not None for token in noisy] == [True] * 4 + [False] * 5
        assert await left("global") == 16
        with pytest.raises(RateLimited, match="loop:noisy"):
            await limiter.acquire(loop="noisy", now_us=START_US)
        with pytest.raises(UnknownService):
            await limiter.acquire(service="lmm")

    run(work)


def test_a_token_settles_and_frees(run: Callable[[Work], None], realm: str) -> None:
    async def work(client: AsyncRedis) -> None:
        limiter = AsyncHierarchicalLimiter(client, LIMITS, realm=realm)

        async def left() -> list[int]:
            return [usage.remaining for usage in await limiter.usage("service:llm", now_us=START_US)]

        async with await limiter.acquire(service="llm", tokens=400, now_us=START_US) as token:
            assert await left() == [1, 600]
            await token.settle(150, now_us=START_US)
            assert await left() == [1, 850]
        assert (await left(), token.outcome) == ([2, 850], Outcome.OK)

        failed = await limiter.acquire(service="llm", tokens=400, now_us=START_US)
        await failed.failed(now_us=START_US)
        await failed.ok(now_us=START_US)
        assert (await left(), failed.outcome) == ([2, 850], Outcome.FAILED)

        broken = await limiter.acquire(service="llm", tokens=400, now_us=START_US)
        with pytest.raises(ZeroDivisionError):
            async with broken:
                raise ZeroDivisionError
        assert (await left(), broken.outcome) == ([2, 450], Outcome.FAILED)

    run(work)


def test_tasks_share_a_limiter(run: Callable[[Work], None], realm: str) -> None:
    async def work(client: AsyncRedis) -> None:
        limiter = AsyncLimiter(client, "github", realm=realm, requests_per_minute=30)

        passed = await asyncio.gather(*(limiter.try_consume(now_us=START_US) for _ in range(100)))

        assert sum(passed) == 30

    run(work)


def test_sync_and_async_spend_one_budget(run: Callable[[Work], None], redis_client: Redis, realm: str) -> None:
    sync = HierarchicalLimiter(redis_client, LIMITS, realm=realm)

    async def work(client: AsyncRedis) -> None:
        limiter = AsyncHierarchicalLimiter(client, realm=realm)
        sync.acquire(loop="a", weight=3, now_us=START_US)

        assert await limiter.try_acquire(loop="a", weight=2, now_us=START_US) is None
        assert await limiter.try_acquire(loop="a", now_us=START_US) is not None

    run(work)


def test_a_burst_of_tasks_asks_once_for_the_limits(run: Callable[[Work], None], realm: str) -> None:
    async def work(client: AsyncRedis) -> None:
        asked = 0

        class Counting(AsyncLimitsRegistry):
            async def bring(self, config: LimitsConfig, program: str, *, now_us: int | None = None) -> Answer:
                nonlocal asked
                asked += 1
                return await super().bring(config, program, now_us=now_us)

        clock = iter([float(second) for second in range(100) for _ in range(2_000)])
        view = AsyncLimitsView(Counting(client, Keys(realm)), LimitsConfig.load(LIMITS), clock=lambda: next(clock))

        configs = await asyncio.gather(*(view.config() for _ in range(200)))

        assert {config.digest for config in configs} == {LimitsConfig.load(LIMITS).digest}
        assert asked == 1

    run(work)


def test_a_connection_that_the_server_closed_is_replaced_and_the_call_counts_once(
    server_url: str, redis_client: Redis, realm: str
) -> None:
    async def main() -> None:
        async with AsyncRedis.from_url(server_url, retry=AsyncRetry(NoBackoff(), 1)) as client:
            limiter = AsyncLimiter(client, "api", realm=realm, requests_per_minute=10)
            await limiter.check_and_consume()
            redis_client.client_kill_filter(_type="normal", skipme=True)
            redis_client.script_flush()

            assert (await limiter.check_and_consume()).remaining == 8

    asyncio.run(main())


def test_the_reply_to_a_cancelled_call_is_not_taken_for_that_of_the_next(
    run: Callable[[Work], None], redis_client: Redis, realm: str
) -> None:
    async def work(client: AsyncRedis) -> None:
        limiter = AsyncLimiter(client, "api", realm=realm, requests_per_minute=10)
        other = AsyncLimiter(client, "other", realm=realm, requests_per_minute=5_000)
        await limiter.check_and_consume()
        redis_client.client_pause(300)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(limiter.check_and_consume(), 0.05)

        assert (await other.check_and_consume()).remaining == 4_999
        assert (await limiter.check_and_consume()).remaining <= 8

    run(work)


def test_nobody_answers_says_where() -> None:
    async def main() -> None:
        limiter = AsyncLimiter("redis://127.0.0.1:1/0", "github", requests_per_minute=1)
        levels = AsyncHierarchicalLimiter("redis://127.0.0.1:1/0", LIMITS)
        for call in (limiter.check_and_consume, limiter.reset_time, levels.acquire, levels.refresh):
            with pytest.raises(ServerUnreachable, match=r"no Redis at redis://127\.0\.0\.1:1/0: "):
                await call()
        await limiter.close()
        await levels.close()

    asyncio.run(main())


def test_a_limiter_with_a_url_closes_its_own_connections(server_url: str, redis_client: Redis, realm: str) -> None:
    async def main() -> None:
        limiter = AsyncLimiter(server_url, "github", realm=realm, requests_per_minute=1)
        assert await limiter.try_consume(now_us=START_US)
        assert not await limiter.try_consume(now_us=START_US + SECOND_US)
        await limiter.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("namesake", "asynchronous"),
    [(Limiter, AsyncLimiter), (HierarchicalLimiter, AsyncHierarchicalLimiter), (RateToken, AsyncRateToken)],
)
def test_both_have_the_same_methods_with_the_same_arguments(namesake: type, asynchronous: type) -> None:
    def methods(of: type) -> dict[str, list[str]]:
        found = inspect.getmembers(of, inspect.isfunction)
        return {name: [*inspect.signature(method).parameters] for name, method in found if not name.startswith("_")}

    assert methods(asynchronous) == methods(namesake)
