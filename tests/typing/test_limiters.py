"""What type checkers make of the limiters. Pyright reads this file in strict mode; that it does so is the test."""

from __future__ import annotations

import inspect
from typing import assert_type

from turgor.limits import (
    AsyncHierarchicalLimiter,
    AsyncLimiter,
    AsyncRateToken,
    Decision,
    HierarchicalLimiter,
    Limiter,
    RateToken,
    Source,
)


def tokens_and_decisions(limiter: HierarchicalLimiter, one: Limiter) -> None:
    with limiter as same:
        assert_type(same, HierarchicalLimiter)
    with one as scope:
        assert_type(scope, Limiter)
    assert_type(limiter.acquire(service="a", timeout=1.5), RateToken)
    assert_type(one.acquire(timeout=None), RateToken)
    decision = one.check_and_consume()
    assert_type(decision, Decision)
    assert_type(decision.source, Source)


async def asynchronous(limiter: AsyncHierarchicalLimiter, one: AsyncLimiter) -> None:
    async with limiter as same:
        assert_type(same, AsyncHierarchicalLimiter)
    assert_type(await limiter.acquire(service="a", timeout=1), AsyncRateToken)
    assert_type(await one.acquire(timeout=1), AsyncRateToken)


async def decorators_keep_signatures(
    limiter: HierarchicalLimiter, one: Limiter, later: AsyncHierarchicalLimiter, one_later: AsyncLimiter
) -> None:
    def add(left: int, right: float) -> str:
        return f"{left + right}"

    def whose(left: int, right: float) -> dict[str, str]:
        return {"loop": f"{left} {right}"}

    def whose_tokens(left: int, right: float) -> int:
        return left + int(right)

    async def wait(seconds: float) -> bytes:
        return bytes(int(seconds))

    assert_type(limiter.limit(service="a", timeout=3)(add)(1, 2.0), str)
    assert_type(limiter.limit(whose, tokens=whose_tokens)(add)(1, right=2.0), str)
    assert_type(one.limit(2)(add)(left=1, right=2.0), str)
    assert_type(await later.limit(service="a")(wait)(1.0), bytes)
    assert_type(await one_later.limit()(wait)(seconds=1.0), bytes)
    limiter.limit(service="a")(add)("one", 2.0)  # pyright: ignore[reportArgumentType]
    limiter.limit(service="a")(add)(1)  # pyright: ignore[reportCallIssue]
    later.limit(service="a")(add)  # pyright: ignore[reportArgumentType]


def test_the_functions_above_are_for_type_checkers_and_are_not_run() -> None:
    assert inspect.iscoroutinefunction(asynchronous)
