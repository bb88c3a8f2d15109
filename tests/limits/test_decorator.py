"""Decorators: each call of a function is an `acquire`, and its slots are free when the function has ended."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest
from redis import Redis

from support import wait_until
from turgor.limits import (
    AsyncHierarchicalLimiter,
    AsyncLimiter,
    HierarchicalLimiter,
    Limiter,
    RateLimited,
    TaskScopes,
)

LIMITS: dict[str, Any] = {
    "services": {"git": {"max_in_flight": 1}, "llm": {"requests_per_hour": 5, "token_limits": {"per_hour": 100}}},
    "loops": {"*": {"requests_per_hour": 2}},
}


@pytest.fixture
def limiter(redis_client: Redis, realm: str) -> HierarchicalLimiter:
    return HierarchicalLimiter(redis_client, LIMITS, realm=realm)


def left(limiter: HierarchicalLimiter, scope: str) -> list[int]:
    return [usage.remaining for usage in limiter.usage(scope)]


def test_a_call_is_charged_and_holds_its_slot_while_it_runs(limiter: HierarchicalLimiter) -> None:
    @limiter.limit(service="git")
    def push(branch: str, *, force: bool = False) -> list[int]:
        """Pushes."""
        return [len(branch), force, *left(limiter, "service:git")]

    assert push("main", force=True) == [4, 1, 0]
    assert left(limiter, "service:git") == [1]
    assert (push.__name__, push.__doc__) == ("push", "Pushes.")
    assert list(inspect.signature(push).parameters) == ["branch", "force"]


def test_a_call_that_is_refused_does_not_run(limiter: HierarchicalLimiter) -> None:
    ran: list[int] = []

    @limiter.limit(service="llm", loop="a")
    def complete(number: int) -> None:
        ran.append(number)

    complete(1)
    complete(2)
    with pytest.raises(RateLimited, match="loop:a requests/1h"):
        complete(3)
    assert ran == [1, 2]


def test_a_call_that_fails_frees_its_slot_and_its_error_is_its_own(limiter: HierarchicalLimiter) -> None:
    @limiter.limit(service="git")
    def push() -> None:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            push()


def test_names_and_tokens_may_come_from_the_arguments(limiter: HierarchicalLimiter) -> None:
    def whose(prompt: str, tenant: str = "nobody") -> dict[str, str]:
        return {"service": "llm", "loop": tenant}

    def cost(prompt: str, tenant: str = "nobody") -> int:
        return len(prompt)

    @limiter.limit(whose, tokens=cost)
    def complete(prompt: str, tenant: str = "nobody") -> str:
        return prompt + tenant

    assert complete("hello", tenant="b") == "hellob"
    assert (left(limiter, "service:llm"), left(limiter, "loop:b"), left(limiter, "loop:nobody")) == ([4, 95], [1], [2])


def test_a_context_may_be_scopes(limiter: HierarchicalLimiter) -> None:
    @limiter.limit(TaskScopes("llm", loop="c"), weight=2)
    def complete() -> None: ...

    complete()
    assert (left(limiter, "service:llm")[0], left(limiter, "loop:c")) == (3, [0])


def test_names_given_both_ways_are_an_error(limiter: HierarchicalLimiter) -> None:
    @limiter.limit({"service": "llm"}, loop="c")
    def complete() -> None: ...

    with pytest.raises(TypeError, match="give either a context or names, not both"):
        complete()


def test_a_decorated_function_waits(limiter: HierarchicalLimiter) -> None:
    started, go_on = threading.Event(), threading.Event()
    most = running = 0

    @limiter.limit(service="git", timeout=20)
    def push() -> None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        started.set()
        go_on.wait(10)
        running -= 1

    threads = [threading.Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert started.wait(10)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert (most, running) == (1, 0)
    assert limiter.statistics().allowed == 4


def test_one_scope_has_a_decorator_too(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "x", realm=realm, requests_per_hour=3, token_limits={"per_hour": 50})

    @limiter.limit(2, tokens=len)
    def send(text: str) -> str:
        return text.upper()

    assert send("hello") == "HELLO"
    assert [usage.remaining for usage in limiter.usage()] == [1, 45]
    with pytest.raises(RateLimited):
        send("hello")


def test_what_returns_before_its_work_is_done_is_not_limited(limiter: HierarchicalLimiter) -> None:
    async def coroutine() -> None: ...
    def generator() -> Iterator[int]:
        yield 1

    async def generator_of_async() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match=r"coroutine is asynchronous; use the limiter whose name begins with Async"):
        limiter.limit(service="git")(coroutine)
    for function in (generator, generator_of_async):
        with pytest.raises(TypeError, match=r"is a generator, whose work begins after its call; acquire inside of it"):
            limiter.limit(service="git")(function)


def test_a_timeout_that_is_no_duration_is_found_at_the_decorator(limiter: HierarchicalLimiter) -> None:
    with pytest.raises(ValueError, match="timeout: -1 is not allowed"):
        limiter.limit(service="git", timeout=-1)


def test_the_same_with_asyncio(server_url: str, redis_client: Redis, realm: str) -> None:
    def whose(branch: str) -> dict[str, str]:
        return {"service": "git", "loop": branch}

    async def main() -> None:
        async with (
            AsyncHierarchicalLimiter(server_url, LIMITS, realm=realm) as limiter,
            AsyncLimiter(server_url, "x", realm=realm, requests_per_hour=1) as one,
        ):

            @limiter.limit(whose, timeout=20)
            async def push(branch: str) -> str:
                await asyncio.sleep(0.01)
                return f"{branch} {(await limiter.usage('service:git'))[0].remaining}"

            assert await asyncio.gather(push("a"), push("b"), push("c")) == ["a 0", "b 0", "c 0"]

            @one.limit()
            async def send() -> str:
                return "sent"

            assert await send() == "sent"
            with pytest.raises(RateLimited):
                await send()
            with pytest.raises(TypeError, match="plain is no coroutine function; use the limiter without Async"):
                one.limit()(cast("Any", plain))

    def plain() -> None: ...

    asyncio.run(main())


def connections(client: Redis) -> int:
    return len(cast("list[Any]", client.client_list()))


def test_a_limiter_closes_its_own_connections_at_the_end_of_its_block(server_url: str, redis_client: Redis, realm: str) -> None:
    redis_client.ping()
    before = connections(redis_client)

    with (
        HierarchicalLimiter(server_url, LIMITS, realm=realm) as limiter,
        Limiter(server_url, "x", realm=realm, requests_per_hour=9) as one,
    ):
        limiter.acquire(service="llm")
        one.check_and_consume()
        assert connections(redis_client) > before
    wait_until(lambda: connections(redis_client) == before, description="the connections are closed")

    with Limiter(redis_client, "x", realm=realm, requests_per_hour=9) as borrowed:
        borrowed.check_and_consume()
    assert redis_client.ping(), "a client stays its owner's"


def test_an_async_limiter_closes_its_own_connections_too(server_url: str, redis_client: Redis, realm: str) -> None:
    redis_client.ping()
    before = connections(redis_client)

    async def main() -> None:
        async with AsyncHierarchicalLimiter(server_url, LIMITS, realm=realm) as limiter:
            await limiter.acquire(service="llm")
            assert connections(redis_client) > before

    asyncio.run(main())
    wait_until(lambda: connections(redis_client) == before, description="the connections are closed")
