"""A noisy caller is refused at its own level, and a quiet one beside it notices nothing."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from limit_calls import START_US
from turgor.limits import Call, HierarchicalLimiter, RateToken

WIDE = {"requests_per_minute": 20, "max_in_flight": 20, "token_limits": {"per_minute": 20}}
OWN = {"requests_per_minute": 10}
CASES: list[Any] = [
    pytest.param(({"global": WIDE, "services": {"x": OWN, "y": {}}}, Call("x"), Call("y")), id="service"),
    pytest.param(
        ({"global": WIDE, "services": {"a": {**WIDE, "endpoints": {"*": OWN}}}}, Call("a", "x"), Call("a", "y")), id="endpoint"
    ),
    pytest.param(({"global": WIDE, "loop_types": {"*": OWN}}, Call(loop_type="x"), Call(loop_type="y")), id="loop type"),
    *(
        pytest.param(({"global": WIDE, "loops": {"*": table}}, Call(loop="x"), Call(loop="y")), id=f"loop, {name}")
        for name, table in {
            "window": OWN,
            "burst": {"requests_per_minute": 20, "burst_capacity": 10},
            "slots": {"max_in_flight": 10},
            "tokens": {"token_limits": {"per_hour": 10}},
        }.items()
    ),
]


def one_by_one(limiter: HierarchicalLimiter, calls: list[Call]) -> int:
    answers = [
        limiter.try_acquire(
            service=call.service, endpoint=call.endpoint, loop_type=call.loop_type, loop=call.loop, tokens=1, now_us=START_US
        )
        for call in calls
    ]
    return sum(answer is not None for answer in answers)


def together(limiter: HierarchicalLimiter, calls: list[Call]) -> int:
    answers = limiter.acquire_many([call._replace(tokens=1) for call in calls], now_us=START_US)
    return sum(isinstance(answer, RateToken) for answer in answers)


@pytest.mark.parametrize("ask", [one_by_one, together])
@pytest.mark.parametrize("case", CASES)
def test_after_a_hundred_refusals_a_quiet_caller_gets_ten_of_ten(
    redis_client: Redis, realm: str, case: tuple[dict[str, Any], Call, Call], ask: Any
) -> None:
    """In most libraries the wider limits had been charged for the refused calls: the quiet caller got 0 of 10."""
    tables, noisy, quiet = case
    limiter = HierarchicalLimiter(redis_client, tables, realm=realm)

    assert ask(limiter, [noisy] * 110) == 10
    assert ask(limiter, [quiet] * 10) == 10
