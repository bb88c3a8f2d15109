"""The limiter of all levels: every level is charged, or none."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from limit_calls import START_US, Calls, OwnServer, keys_of, scripts_run
from turgor.limits import (
    ConfigError,
    CostTooLarge,
    Decision,
    HierarchicalLimiter,
    InvalidScope,
    LimiterStatistics,
    LimitsConfig,
    RateLimited,
    ServerUnreachable,
    TaskScopes,
    UnknownService,
)
from turgor.limits.account_book import CACHE_SIZE, AccountBook
from turgor.limits.limit import SECOND_US
from turgor.limits.registry import LimitsRegistry

LIMITS: dict[str, Any] = {
    "global": {"requests_per_minute": 20},
    "services": {
        "llm": {"requests_per_minute": 10, "endpoints": {"chat": {"requests_per_minute": 5}, "*": {"requests_per_minute": 3}}},
        "git": {},
    },
    "loop_types": {"planner": {"requests_per_minute": 8}},
    "loops": {"*": {"requests_per_minute": 4}, "vip": {"requests_per_minute": 9}, "free": {}},
}


@pytest.fixture
def limiter(redis_client: Redis, realm: str) -> HierarchicalLimiter:
    return HierarchicalLimiter(redis_client, LIMITS, realm=realm)


def left(limiter: HierarchicalLimiter, *scopes: str, now_us: int = START_US) -> list[int]:
    """What is left of the first limit of each scope."""
    return [limiter.usage(scope, now_us=now_us)[0].remaining for scope in scopes]


def test_a_call_is_charged_at_every_level(limiter: HierarchicalLimiter) -> None:
    token = limiter.acquire(service="llm", endpoint="chat", loop_type="planner", loop="planner-7", weight=2, now_us=START_US)

    scopes = ("global", "service:llm", "endpoint:llm/chat", "loop_type:planner", "loop:planner-7")
    assert left(limiter, *scopes) == [18, 8, 3, 6, 2]
    assert token.decision == Decision(True, 2, 0.0, 60.0, "loop:planner-7", "requests/1m", 4)


@pytest.mark.parametrize(
    "context",
    [
        TaskScopes("llm", "chat", loop="a"),
        {"service": "llm", "endpoint": "chat", "loop": "a"},
    ],
    ids=["scopes", "mapping"],
)
def test_a_context_is_the_same_as_its_names(limiter: HierarchicalLimiter, context: Any) -> None:
    limiter.acquire(context, now_us=START_US)
    limiter.acquire(service="llm", endpoint="chat", loop="a", now_us=START_US)

    assert left(limiter, "global", "service:llm", "endpoint:llm/chat", "loop:a") == [18, 8, 3, 2]


def test_no_level_is_charged_when_one_refuses(limiter: HierarchicalLimiter) -> None:
    for _ in range(4):
        limiter.acquire(service="llm", loop="noisy", now_us=START_US)

    with pytest.raises(RateLimited) as refused:
        limiter.acquire(service="llm", loop="noisy", now_us=START_US)

    assert refused.value.decision == Decision(False, 0, 60.0, 60.0, "loop:noisy", "requests/1m", 4)
    assert left(limiter, "global", "service:llm") == [16, 6]


def test_a_quiet_caller_gets_all_of_its_own_after_a_noisy_one_was_refused_a_hundred_times(
    redis_client: Redis, realm: str
) -> None:
    """In most libraries the refused calls had been charged to the global limit: the quiet caller got 0 of 10."""
    tables: dict[str, Any] = {
        "global": {"requests_per_minute": 20},
        "services": {"a": {}},
        "loops": {"*": {"requests_per_minute": 10}},
    }
    limiter = HierarchicalLimiter(redis_client, tables, realm=realm)

    noisy = [limiter.try_acquire(service="a", loop="noisy", now_us=START_US) for _ in range(110)]
    quiet = [limiter.try_acquire(service="a", loop="quiet", now_us=START_US) for _ in range(10)]

    assert sum(token is not None for token in noisy) == 10
    assert all(token is not None for token in quiet)
    assert limiter.statistics() == LimiterStatistics(allowed=20, refused=100, units_allowed=20)


def test_trying_answers_none_instead_of_raising(limiter: HierarchicalLimiter) -> None:
    tokens = [limiter.try_acquire(loop="a", weight=3, now_us=START_US) for _ in range(2)]

    assert [token is not None for token in tokens] == [True, False]


def test_a_template_gives_each_loop_limits_of_its_own(limiter: HierarchicalLimiter) -> None:
    for loop, capacity in (("a", 4), ("b", 4), ("vip", 9)):
        passed = [limiter.try_acquire(loop=loop, now_us=START_US) for _ in range(10)]
        assert sum(token is not None for token in passed) == capacity


def test_a_named_scope_has_no_template_even_if_it_has_no_limits(limiter: HierarchicalLimiter) -> None:
    assert limiter.usage("loop:free") == ()
    limiter.acquire(loop="free", weight=20, now_us=START_US)


def test_a_template_serves_endpoints_too(limiter: HierarchicalLimiter) -> None:
    limiter.acquire(service="llm", endpoint="embed", now_us=START_US)

    assert left(limiter, "endpoint:llm/embed", "endpoint:llm/other", "endpoint:llm/chat") == [2, 3, 5]


def test_a_service_that_no_limits_name_is_an_error(limiter: HierarchicalLimiter) -> None:
    with pytest.raises(UnknownService, match=r"unknown service 'lmm'. Did you mean 'llm'\? Known: git, llm"):
        limiter.acquire(service="lmm")
    with pytest.raises(UnknownService):
        limiter.usage("service:lmm")
    with pytest.raises(UnknownService):
        limiter.usage("endpoint:lmm/chat")


@pytest.mark.parametrize("scope", ["", "loop", "loop:", "tenant:a", "llm"])
def test_a_scope_of_no_kind_has_no_usage(limiter: HierarchicalLimiter, scope: str) -> None:
    with pytest.raises(InvalidScope, match="use 'global', 'service:…'"):
        limiter.usage(scope)


def test_names_that_are_not_possible_are_refused(limiter: HierarchicalLimiter) -> None:
    with pytest.raises(InvalidScope, match="give the service that it belongs to"):
        limiter.acquire(endpoint="chat")
    with pytest.raises(InvalidScope, match="use printable characters only"):
        limiter.acquire(loop="a\nb")
    with pytest.raises(TypeError, match="loop: 7 is not allowed; use text"):
        limiter.acquire(loop=7)  # type: ignore[arg-type]


def test_a_context_that_is_not_possible_is_refused(limiter: HierarchicalLimiter) -> None:
    with pytest.raises(TypeError, match="context: give either a context or names, not both"):
        limiter.acquire(TaskScopes("llm"), loop="a")
    with pytest.raises(TypeError, match="context: unknown key 'tenant'; use service, endpoint, loop_type, loop"):
        limiter.acquire({"tenant": "a"})


@pytest.mark.parametrize(("option", "value"), [("weight", 0), ("weight", 1.5), ("tokens", -1), ("tokens", True)])
def test_a_number_that_is_no_cost_is_refused_by_name(limiter: HierarchicalLimiter, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{option}: {value!r} is not allowed"):
        limiter.acquire(service="llm", **{option: value})


def test_what_never_fits_at_one_level_is_an_error(limiter: HierarchicalLimiter) -> None:
    with pytest.raises(CostTooLarge, match="costs 6, but endpoint:llm/chat requests/1m never holds more than 5"):
        limiter.try_acquire(service="llm", endpoint="chat", weight=6)


def test_a_call_without_a_limit_or_a_service_passes_without_a_round_trip(redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, {"services": {"git": {}}}, realm=realm)
    limiter.refresh()
    before = scripts_run(redis_client)

    with limiter.acquire(loop="a", tokens=99) as token:
        assert token.decision == Decision(True)

    assert scripts_run(redis_client) == before
    assert repr(token) == "<RateToken ok, 99 tokens, no limit>"


def test_charging_five_levels_is_one_round_trip(limiter: HierarchicalLimiter, redis_client: Redis) -> None:
    limiter.acquire(loop="a")  # the limits are published, and the server knows the script
    before = scripts_run(redis_client)

    limiter.acquire(service="llm", endpoint="chat", loop_type="planner", loop="planner-7")

    assert scripts_run(redis_client) == before + 1


def test_limits_come_from_a_file(redis_client: Redis, realm: str, tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text("[global]\nrequests_per_minute = 3\n")

    assert left(HierarchicalLimiter(redis_client, path, realm=realm), "global") == [3]
    assert left(HierarchicalLimiter(redis_client, str(path), realm=realm), "global") == [3]
    with pytest.raises(ConfigError, match="no such file"):
        HierarchicalLimiter(redis_client, tmp_path / "other.toml")


def test_without_limits_of_its_own_it_keeps_what_redis_holds(calls: Calls) -> None:
    limiter = HierarchicalLimiter(calls.client, realm=calls.keys.realm)
    limiter.acquire(loop="a")
    with pytest.raises(UnknownService, match="Known: none"):
        limiter.acquire(service="llm")

    LimitsRegistry(calls.client, calls.keys).publish(LimitsConfig.load(LIMITS))

    assert limiter.refresh() == LimitsConfig.load(LIMITS)
    assert limiter.acquire(service="llm", now_us=START_US).decision.capacity == 10


def test_a_change_is_followed_and_keeps_what_was_used(limiter: HierarchicalLimiter, calls: Calls) -> None:
    limiter.acquire(loop="a", weight=3, now_us=START_US)

    LimitsRegistry(calls.client, calls.keys).publish(LimitsConfig.load({"loops": {"*": {"requests_per_minute": 10}}}))
    limiter.refresh()

    assert left(limiter, "loop:a") == [7]
    assert limiter.usage("global") == ()


def test_every_state_it_writes_has_the_scheduler_s_name(limiter: HierarchicalLimiter, calls: Calls) -> None:
    limiter.acquire(service="llm", endpoint="chat", loop_type="planner", loop="planner-7", now_us=START_US)

    assert {*keys_of(calls.client, f"{calls.keys.prefix}:limit:*")} == {
        calls.keys.limit(scope, "requests/1m")
        for scope in ("global", "service:llm", "endpoint:llm/chat", "loop_type:planner", "loop:planner-7")
    }


def test_the_binding_limit_is_the_one_that_opens_last(redis_client: Redis, realm: str) -> None:
    tables = {"global": {"requests_per_minute": 1}, "loops": {"*": {"requests_per_hour": 1}}}
    limiter = HierarchicalLimiter(redis_client, tables, realm=realm)
    limiter.acquire(loop="a", now_us=START_US)

    with pytest.raises(RateLimited) as refused:
        limiter.acquire(loop="a", now_us=START_US)

    assert (refused.value.decision.binding, refused.value.decision.retry_after) == ("loop:a requests/1h", 3600.0)


def test_what_is_remembered_of_callers_has_a_bound() -> None:
    book = AccountBook(LimitsConfig.load(LIMITS))

    for number in range(CACHE_SIZE + 10):
        book.of_call(("", "", "", f"loop-{number}"))

    assert len(book) <= CACHE_SIZE
    assert book.of_call(("", "", "", "a")) is book.of_call(("", "", "", "a"))


def test_nobody_answers_says_where() -> None:
    for limits in (LIMITS, None):
        limiter = HierarchicalLimiter("redis://127.0.0.1:1/0", limits)
        for call in (limiter.acquire, limiter.try_acquire, partial(limiter.usage, "global"), limiter.refresh):
            with pytest.raises(ServerUnreachable, match=r"no Redis at redis://127\.0\.0\.1:1/0: connection refused"):
                call()


def test_usage_is_ready_to_print(limiter: HierarchicalLimiter) -> None:
    limiter.acquire(service="llm", weight=4, now_us=START_US)

    (usage,) = limiter.usage("service:llm", now_us=START_US + 10 * SECOND_US)

    header = f'"{usage.limit.id}";r={usage.remaining};t={math.ceil(usage.reset_after)}'
    assert header == '"requests/1m";r=6;t=50'
    assert json.dumps(str(usage.limit)) == '"10 requests per 1m"'


def test_it_goes_on_when_the_server_comes_back(own_server: OwnServer, realm: str) -> None:
    limiter = HierarchicalLimiter(own_server.url, LIMITS, realm=realm)
    limiter.acquire(loop="a", weight=3, now_us=START_US)
    own_server.kill()
    with pytest.raises(ServerUnreachable):
        limiter.acquire(loop="a", now_us=START_US)

    own_server.restart()

    assert limiter.acquire(loop="a", now_us=START_US).decision.remaining == 0
    assert limiter.try_acquire(loop="a", now_us=START_US) is None
