"""Usage: limit, used, remaining and reset of each limit, as an object, as response headers, as JSON."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import FrozenInstanceError
from typing import Any, cast

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from limit_calls import START_US, Calls, bucket, in_flight, window
from turgor.limits import (
    AsyncHierarchicalLimiter,
    AsyncLimiter,
    Decision,
    HierarchicalLimiter,
    InvalidScope,
    Limiter,
    LimitsConfig,
    LimitUsage,
    RateLimited,
    Unit,
    Usage,
)
from turgor.limits.headers import parse_headers
from turgor.limits.limit import SECOND_US
from turgor.limits.scope_word import scope_of

LIMITS: dict[str, Any] = {
    "services": {
        "llm": {
            "requests_per_minute": 10,
            "burst_capacity": 3,
            "max_in_flight": 2,
            "token_limits": {"per_hour": 1_000},
            "endpoints": {"chat": {}},
        }
    },
    "loop_types": {"planner": {}, "both": {}},
    "loops": {"*": {"requests_per_minute": 4}, "vip": {}, "both": {}},
}


@pytest.fixture
def limiter(redis_client: Redis, realm: str) -> HierarchicalLimiter:
    return HierarchicalLimiter(redis_client, LIMITS, realm=realm)


def at(seconds: float) -> int:
    return START_US + round(seconds * SECOND_US)


def test_each_limit_says_what_is_used_and_what_is_left(limiter: HierarchicalLimiter) -> None:
    limiter.acquire(service="llm", weight=2, tokens=300, now_us=at(0))

    usage = limiter.usage("service:llm", now_us=at(2))

    assert isinstance(usage, Usage)
    assert [(each.limit.id, each.used, each.remaining, each.retry_after, each.reset_after) for each in usage] == [
        ("requests/1m", 2, 8, 0.0, 58.0),
        ("burst", 2, 1, 0.0, 10.0),  # 12 s were owed, of which 2 have passed; part of a unit is not left
        ("in_flight", 1, 1, 0.0, 0.0),
        ("tokens/1h", 300, 700, 0.0, 3598.0),
    ]


def test_what_was_spent_above_a_limit_counts_as_used(limiter: HierarchicalLimiter) -> None:
    """A gauge that stops at the limit hides an overdraft."""
    token = limiter.acquire(service="llm", tokens=900, now_us=at(0))
    token.settle(1_500, now_us=at(0))

    (tokens,) = (each for each in limiter.usage("service:llm", now_us=at(0)) if each.limit.unit is Unit.TOKENS)

    assert (tokens.used, tokens.remaining, tokens.retry_after) == (1_500, 0, 3600.0)


@pytest.mark.parametrize("limit", [window(5), bucket(5, refill=60), in_flight(5)], ids=str)
def test_what_was_used_before_a_limit_was_lowered_counts_as_used(calls: Calls, limit: Any) -> None:
    wide = Limiter(calls.client, "a", (limit,), realm=calls.keys.realm)
    for _ in range(5):
        wide.acquire(now_us=at(0))
    lowered = {"window": window(2), "bucket": bucket(2, refill=60), "in_flight": in_flight(2)}[limit.kind]

    (usage,) = Limiter(calls.client, "a", (lowered,), realm=calls.keys.realm).usage(now_us=at(0))

    assert (usage.used, usage.remaining) == (5, 0)


def test_a_usage_is_a_tuple_that_does_not_change(limiter: HierarchicalLimiter) -> None:
    usage = limiter.usage("service:llm", now_us=at(0))

    assert usage == tuple(usage)
    assert usage[0].limit.id == "requests/1m"
    with pytest.raises(AttributeError):
        usage.scope = "service:llm"  # type: ignore[attr-defined]
    with pytest.raises(FrozenInstanceError):
        usage[0].used = 9  # type: ignore[misc]


def test_a_scope_without_limits_has_an_empty_usage(limiter: HierarchicalLimiter) -> None:
    usage = limiter.usage("loop:vip")

    assert usage == ()
    assert (usage.binding, usage.headers(), usage.to_json()) == (None, {}, '{"binding": null, "limits": []}')


def test_response_headers_tell_of_every_limit(limiter: HierarchicalLimiter) -> None:
    limiter.acquire(service="llm", weight=2, tokens=300, now_us=at(0))

    assert limiter.usage("service:llm", now_us=at(1.5)).headers() == {
        "RateLimit-Policy": (
            '"requests/1m";q=10;w=60, "burst";q=3;w=18, "in_flight";q=2;qu="concurrent-requests", '
            '"tokens/1h";q=1000;qu="tokens";w=3600'
        ),
        "RateLimit": '"requests/1m";r=8;t=59, "burst";r=1;t=11, "in_flight";r=1, "tokens/1h";r=700;t=3599',
        "RateLimit-Limit": "3",
        "RateLimit-Remaining": "1",
        "RateLimit-Reset": "11",
    }


def test_response_headers_say_when_to_come_back_once_nothing_is_left(limiter: HierarchicalLimiter) -> None:
    limiter.acquire(service="llm", weight=3, now_us=at(0)).ok(now_us=at(0))

    headers = limiter.usage("service:llm", now_us=at(0.5)).headers()

    assert (headers["RateLimit-Remaining"], headers["RateLimit-Reset"], headers["Retry-After"]) == ("0", "18", "6")


def test_response_headers_promise_no_time_for_slots(redis_client: Redis, realm: str) -> None:
    """A slot comes back when its work ends. The time at which its lease would lapse is no time to come back at."""
    limiter = Limiter(redis_client, "git", realm=realm, max_in_flight=1)
    limiter.acquire(now_us=at(0))
    with pytest.raises(RateLimited) as refused:
        limiter.acquire(now_us=at(0))

    headers = {
        "RateLimit-Policy": '"in_flight";q=1;qu="concurrent-requests"',
        "RateLimit": '"in_flight";r=0',
        "RateLimit-Limit": "1",
        "RateLimit-Remaining": "0",
    }
    assert limiter.usage(now_us=at(0)).headers() == headers
    assert refused.value.decision.headers() == headers


def test_headers_of_several_scopes_tell_their_limits_apart() -> None:
    minute = window(10)
    usage = Usage([LimitUsage("global", minute, 1, 9, 0.0, 60.0), LimitUsage('loop:"é\\', minute, 2, 8, 0.0, 30.0)])

    assert usage.headers()["RateLimit"] == '"global requests/1m";r=9;t=60, "loop:\\"%C3%A9\\\\ requests/1m";r=8;t=30'


@given(scope=st.text(max_size=30), capacity=st.integers(1, 10**18), used=st.integers(0, 10**18), reset=st.floats(0, 1e9))
def test_headers_are_structured_fields_whatever_a_scope_is_called(scope: str, capacity: int, used: int, reset: float) -> None:
    """One mistake in a field voids the whole of it, and a line break in it would be a header of its own."""
    other = LimitUsage("global", bucket(3, refill=7), 1, 2, 0.0, 0.4)
    try:
        scope.encode()
    except UnicodeEncodeError:
        return
    one = LimitUsage(scope, window(capacity), used, max(0, capacity - used), 0.0, reset)

    headers = Usage([other, one]).headers()

    for field, numbers in (("RateLimit-Policy", ("q", "w")), ("RateLimit", ("r", "t"))):
        assert headers[field].isascii()
        assert headers[field].isprintable()
        items = cast("list[tuple[str, dict[str, object]]]", http_sf.parse(headers[field].encode(), tltype="list"))
        assert [{name: type(value) for name, value in parameters.items()} for _, parameters in items] == [
            dict.fromkeys(numbers, int)
        ] * 2


def test_our_own_reader_of_headers_understands_them(limiter: HierarchicalLimiter) -> None:
    limiter.acquire(service="llm", weight=3, tokens=300, now_us=at(0)).ok(now_us=at(0))

    observation = parse_headers(limiter.usage("service:llm", now_us=at(0)).headers(), 429)

    assert (observation.retry_after_s, observation.is_throttled) == (6.0, True)
    assert {(quota.unit, quota.limit, quota.remaining, quota.reset_s) for quota in observation.quotas} >= {
        (Unit.REQUESTS, 10, 7, 60.0),
        (Unit.REQUESTS, 3, 0, 18.0),
        (Unit.TOKENS, 1_000, 700, 3600.0),
    }


@pytest.mark.parametrize(
    ("decision", "headers"),
    [
        (Decision(True), {}),
        (
            Decision(True, 9, 0.0, 60.0, "global", "requests/1m", 10),
            {
                "RateLimit-Policy": '"requests/1m";q=10;w=60',
                "RateLimit": '"requests/1m";r=9;t=60',
                "RateLimit-Limit": "10",
                "RateLimit-Remaining": "9",
                "RateLimit-Reset": "60",
            },
        ),
        (
            Decision(False, 3, 0.2, 1.7, "service:a", "tokens/1500ms", 10),
            {
                "RateLimit-Policy": '"tokens/1500ms";q=10;qu="tokens";w=2',
                "RateLimit": '"tokens/1500ms";r=3;t=2',
                "RateLimit-Limit": "10",
                "RateLimit-Remaining": "3",
                "RateLimit-Reset": "2",
                "Retry-After": "1",
            },
        ),
        (
            Decision(False, 5, math.inf, 0.0, "service:a", "burst", 5),
            {
                "RateLimit-Policy": '"burst";q=5',
                "RateLimit": '"burst";r=5;t=0',
                "RateLimit-Limit": "5",
                "RateLimit-Remaining": "5",
                "RateLimit-Reset": "0",
            },
        ),
        (Decision(False, 0, 29.5, 29.5, "service:a", "closed"), {"Retry-After": "30"}),
    ],
    ids=["no limit", "allowed", "refused", "never", "closed"],
)
def test_a_decision_has_the_headers_of_the_limit_that_binds(decision: Decision, headers: dict[str, str]) -> None:
    assert decision.headers() == headers


def test_a_decision_of_a_window_too_short_for_text_has_headers(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "a", (window(5, period_us=10),), realm=realm)

    assert limiter.check_and_consume(now_us=at(0)).headers()["RateLimit-Policy"] == '"requests/10us";q=5'


def test_usage_is_json(limiter: HierarchicalLimiter) -> None:
    limiter.acquire(service="llm", weight=3, tokens=300, now_us=at(0))

    found = json.loads(limiter.usage("service:llm", now_us=at(0)).to_json())

    assert found["binding"] == "service:llm burst"
    assert found["limits"][0] == {
        "scope": "service:llm",
        "limit": "requests/1m",
        "kind": "window",
        "unit": "requests",
        "capacity": 10,
        "period_s": 60.0,
        "used": 3,
        "remaining": 7,
        "retry_after_s": 0.0,
        "reset_after_s": 60.0,
        "reserved": 0,
        "reserved_for": None,
        "shadow": False,
        "shadowed": 0,
    }
    assert [(each["limit"], each["retry_after_s"]) for each in found["limits"]][1:] == [
        ("burst", 6.0),
        ("in_flight", 0.0),
        ("tokens/1h", 0.0),
    ]


def test_a_shadow_is_in_the_usage_and_in_no_header(redis_client: Redis, realm: str) -> None:
    """It holds nobody back, so no caller need know of it."""
    windows: list[Any] = [{"limit": 9, "per": "1m"}, {"limit": 2, "per": "10s", "shadow": True}]
    limiter = Limiter(redis_client, "a", realm=realm, windows=windows)
    for _ in range(3):
        limiter.check_and_consume(now_us=at(0))

    usage = limiter.usage(now_us=at(0))

    assert {each.limit.id: (each.used, each.remaining, each.shadowed) for each in usage} == {
        "requests/1m": (3, 6, 0),
        "requests/10s": (3, 0, 1),
    }
    assert usage.headers()["RateLimit"] == '"requests/1m";r=6;t=60'
    assert "Retry-After" not in usage.headers()
    assert usage.binding is not None
    assert usage.binding.limit.id == "requests/1m"


def test_asyncio_limiters_say_the_same(server_url: str, redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, LIMITS, realm=realm)
    limiter.acquire(service="llm", now_us=at(0))
    alone = Limiter(redis_client, "alone", realm=realm, requests_per_minute=3)

    async def ask() -> tuple[Usage, Usage, Usage]:
        levels = AsyncHierarchicalLimiter(server_url, realm=realm)
        one = AsyncLimiter(server_url, "alone", realm=realm, requests_per_minute=3)
        found = [await levels.usage(scope, now_us=at(0)) for scope in ("service:llm", "loop:vip")]
        usage = await one.usage(now_us=at(0))
        await levels.close()
        await one.close()
        return found[0], found[1], usage

    assert asyncio.run(ask()) == (limiter.usage("service:llm", now_us=at(0)), (), alone.usage(now_us=at(0)))


@pytest.mark.parametrize(
    ("word", "scope"),
    [
        ("global", "global"),
        ("service:other", "service:other"),
        ("llm", "service:llm"),
        ("llm/chat", "endpoint:llm/chat"),
        ("llm/embed", "endpoint:llm/embed"),
        ("planner", "loop_type:planner"),
        ("vip", "loop:vip"),
    ],
)
def test_a_word_means_the_one_scope_that_the_limits_name_so(word: str, scope: str) -> None:
    assert scope_of(word, LimitsConfig.load(LIMITS)) == scope


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("both", "say which one: loop_type:both, loop:both"),
        ("planner-7", "the limits name no such scope; give its full name, such as loop:planner-7"),
        ("*", "the limits name no such scope"),
        ("git/push", "the limits name no such scope"),
    ],
)
def test_a_word_that_means_no_scope_or_several_is_refused(word: str, remedy: str) -> None:
    with pytest.raises(InvalidScope, match=remedy):
        scope_of(word, LimitsConfig.load(LIMITS))
