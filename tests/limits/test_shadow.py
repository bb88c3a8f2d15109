"""A limit in the shadow counts and reports like any other, and never holds anything back."""

from __future__ import annotations

import math
from typing import Any

import pytest
from redis import Redis

from limit_calls import START_US, Ask, Calls, keys_of, new_scope, ttl_ms
from turgor.limits import HierarchicalLimiter, Limit, Limiter, LimitKind, RateLimited, Regulator, Unit
from turgor.limits.account import Account
from turgor.limits.config import LimitsConfig
from turgor.limits.errors import ConfigError
from turgor.limits.keys import Keys
from turgor.limits.limit import SECOND_US

MINUTE_US = 60 * SECOND_US
WEEK_MS = 7 * 86_400_000
KINDS = {
    "window": Limit(LimitKind.WINDOW, 3, Unit.REQUESTS, MINUTE_US, shadow=True),
    "bucket": Limit(LimitKind.BUCKET, 3, Unit.REQUESTS, MINUTE_US, 60, shadow=True),
    "in flight": Limit(LimitKind.IN_FLIGHT, 3, shadow=True),
    "tokens": Limit(LimitKind.WINDOW, 3, Unit.TOKENS, MINUTE_US, shadow=True),
}
each_kind = pytest.mark.parametrize("limit", KINDS.values(), ids=KINDS.keys())


def limits_in(tables: dict[str, Any], scope: str = "global") -> list[str]:
    return [str(limit) for limit in LimitsConfig.load(tables).definitions()[scope]]


@each_kind
def test_everything_passes_and_what_would_have_been_refused_is_counted(calls: Calls, limit: Limit) -> None:
    account = Account([(new_scope(), limit)])
    replies = calls.acquire_all(account, [Ask(START_US, tokens=1, holder=str(number)) for number in range(8)])
    (usage,) = account.usage(calls.peek(account, START_US, tokens=1))

    assert [reply[:2] for reply in replies] == [[1, 0]] * 8
    assert (usage.remaining, usage.retry_after, usage.shadowed) == (0, 0.0, 5)


@each_kind
def test_a_cost_above_the_whole_limit_passes(calls: Calls, limit: Limit) -> None:
    account = Account([(new_scope(), limit)])
    account.check_cost(100, 100)

    assert calls.acquire(account, Ask(START_US, requests=100, tokens=100))[0] == 1


def test_a_shadow_never_binds_though_it_has_the_least_left(calls: Calls) -> None:
    account = Account([("a", KINDS["window"]), ("a", Limit(LimitKind.WINDOW, 10, Unit.REQUESTS, 3_600 * SECOND_US))])
    decisions = calls.decide_all(account, [Ask(START_US)] * 11)

    assert [decision.binding for decision in decisions] == ["a requests/1h"] * 11
    assert [decision.allowed for decision in decisions] == [True] * 10 + [False]
    assert account.forecast(calls.peek(account, START_US), 1, 0) == decisions[-1]


def test_what_a_real_limit_refuses_a_shadow_does_not_count(calls: Calls) -> None:
    account = Account([("a", KINDS["window"]), ("a", Limit(LimitKind.WINDOW, 4, Unit.REQUESTS, 3_600 * SECOND_US))])
    calls.acquire_all(account, [Ask(START_US)] * 20)

    assert account.usage(calls.peek(account, START_US))[0].shadowed == 1


def test_a_shadow_bucket_owes_no_more_than_it_holds(calls: Calls) -> None:
    account = Account([(new_scope(), KINDS["bucket"])])
    calls.acquire_all(account, [Ask(START_US)] * 500)

    assert account.usage(calls.peek(account, START_US))[0].reset_after == 3.0


def test_the_count_is_kept_for_a_week_and_where_nothing_is_refused_there_is_none(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "github", requests_per_minute=1, shadow=True, realm=realm)
    limiter.check_and_consume()
    counts = Keys(realm)("shadowed:github:requests/1m")
    assert counts not in keys_of(redis_client)

    assert limiter.try_consume()
    assert WEEK_MS - 5_000 < ttl_ms(redis_client, counts) <= WEEK_MS + 1
    assert limiter.usage()[0].shadowed == 1
    assert limiter.available_tokens() == 0


def test_a_slot_of_a_shadow_is_freed_when_the_call_ends(redis_client: Redis, realm: str) -> None:
    config = {"services": {"llm": {"max_in_flight": 1, "shadow": True}}}
    limiter = HierarchicalLimiter(redis_client, config, realm=realm)
    with limiter.acquire(service="llm"), limiter.acquire(service="llm"):
        pass

    (usage,) = limiter.usage("service:llm")
    assert (usage.remaining, usage.shadowed) == (1, 1)


def test_a_service_with_shadow_limits_can_be_closed(redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, {"services": {"llm": {"requests_per_minute": 1, "shadow": True}}}, realm=realm)
    Regulator(redis_client, Keys(realm)).close("service:llm", 30, now_us=START_US)

    with pytest.raises(RateLimited, match=r"^service:llm closed: retry after 30\.000 s$"):
        limiter.acquire(service="llm", now_us=START_US)


def test_a_shadow_keeps_the_fill_when_it_steps_into_the_light(calls: Calls) -> None:
    scope = new_scope()
    calls.acquire_all(Account([(scope, KINDS["window"])]), [Ask(START_US)] * 5)
    enforced = Account([(scope, Limit(LimitKind.WINDOW, 3, Unit.REQUESTS, MINUTE_US))])

    assert calls.decide_all(enforced, [Ask(START_US)])[0].retry_after == 60.0
    assert calls.decide_all(enforced, [Ask(START_US + MINUTE_US)])[0].allowed


def test_a_whole_table_or_a_single_window_is_a_shadow() -> None:
    assert limits_in(
        {
            "global": {
                "requests_per_minute": 60,
                "burst_capacity": 5,
                "max_in_flight": 2,
                "token_limits": {"per_day": 9},
                "shadow": True,
            }
        }
    ) == [
        "60 requests per 1m (shadow)",
        "bursts of 5 requests, 60 per 1m (shadow)",
        "2 in flight (shadow)",
        "9 tokens per 1d (shadow)",
    ]
    assert limits_in(
        {
            "global": {
                "requests_per_hour": 600,
                "windows": [{"limit": 60, "per": "1m", "shadow": True}],
                "burst_capacity": 5,
                "token_limits": {"windows": [{"limit": 9, "per": "1s", "shadow": True}]},
            }
        }
    ) == [
        "60 requests per 1m (shadow)",
        "600 requests per 1h",
        "bursts of 5 requests, 60 per 1m (shadow)",
        "9 tokens per 1s (shadow)",
    ]


def test_the_shadow_of_a_service_does_not_fall_on_its_endpoints() -> None:
    tables = {"services": {"llm": {"requests_per_minute": 9, "shadow": True, "endpoints": {"chat": {"requests_per_minute": 5}}}}}

    assert limits_in(tables, "endpoint:llm/chat") == ["5 requests per 1m"]
    assert limits_in(tables, "service:llm") == ["9 requests per 1m (shadow)"]


def test_a_config_with_shadows_comes_back_as_it_was() -> None:
    tables = {"global": {"windows": [{"limit": 5, "per": "10s", "shadow": True}], "shadow": True}}

    assert LimitsConfig.load(tables).to_dict() == tables


@pytest.mark.parametrize("shadow", [1, "yes", math.inf])
def test_a_shadow_is_true_or_false(shadow: Any) -> None:
    with pytest.raises(ConfigError, match=r"^global\.shadow: "):
        LimitsConfig.load({"global": {"requests_per_minute": 1, "shadow": shadow}})
