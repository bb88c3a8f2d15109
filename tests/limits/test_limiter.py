"""The limiter of one scope: four verbs, and what they refuse."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from redis import Redis

from limit_calls import MINUTE_US, START_US, Calls, bucket, in_flight, keys_of, window
from turgor.limits import (
    AsyncLimiter,
    ConfigError,
    CostTooLarge,
    Decision,
    InvalidScope,
    Limiter,
    LimiterStatistics,
    RateLimited,
    ServerUnreachable,
    Unit,
)
from turgor.limits.limit import SECOND_US


@pytest.fixture
def limiter(redis_client: Redis, realm: str) -> Limiter:
    """Ten requests a minute, three at once."""
    return Limiter(redis_client, "github", realm=realm, requests_per_minute=10, burst_capacity=3)


def test_what_fits_is_consumed_and_the_decision_says_what_is_left(limiter: Limiter) -> None:
    decision = limiter.check_and_consume(2, now_us=START_US)

    assert decision == Decision(True, 1, 0.0, 12.0, "github", "burst", 3)


def test_what_does_not_fit_is_refused_with_the_decision(limiter: Limiter) -> None:
    limiter.check_and_consume(3, now_us=START_US)

    with pytest.raises(RateLimited) as refused:
        limiter.check_and_consume(now_us=START_US)

    assert refused.value.decision == Decision(False, 0, 6.0, 18.0, "github", "burst", 3)
    assert str(refused.value) == "github burst: 0 of 3 left, retry after 6.000 s"


def test_whoever_waits_as_long_as_the_refusal_says_passes(limiter: Limiter) -> None:
    at_us, passed = START_US, 0
    for _ in range(40):
        decision = limiter.peek(2, now_us=at_us)
        at_us += round(decision.retry_after * SECOND_US)
        passed += limiter.try_consume(2, now_us=at_us)

    assert passed == 40


def test_trying_answers_instead_of_raising(limiter: Limiter) -> None:
    assert [limiter.try_consume(now_us=START_US) for _ in range(5)] == [True, True, True, False, False]


def test_the_limit_with_the_least_left_says_what_is_available(limiter: Limiter) -> None:
    assert limiter.available_tokens(now_us=START_US) == 3
    for step in range(9):
        limiter.check_and_consume(now_us=START_US + step * 6 * SECOND_US)

    assert limiter.available_tokens(now_us=START_US + 54 * SECOND_US) == 1
    assert not limiter.try_consume(2, now_us=START_US + 54 * SECOND_US)


def test_the_reset_time_runs_down_to_zero(limiter: Limiter) -> None:
    assert limiter.reset_time(now_us=START_US) == 0.0
    limiter.check_and_consume(now_us=START_US)

    assert [limiter.reset_time(now_us=START_US + at * SECOND_US) for at in (0, 20, 60, 70)] == [60.0, 40.0, 0.0, 0.0]


def test_peeking_charges_nothing(limiter: Limiter) -> None:
    decisions = {limiter.peek(3, now_us=START_US) for _ in range(5)}

    assert decisions == {Decision(True, 10, 0.0, 0.0, "github", "requests/1m", 10)}


def test_usage_lists_each_limit(limiter: Limiter) -> None:
    limiter.check_and_consume(2, now_us=START_US)

    assert [(usage.limit.id, usage.remaining, usage.reset_after) for usage in limiter.usage(now_us=START_US)] == [
        ("requests/1m", 8, 60.0),
        ("burst", 1, 12.0),
    ]


def test_statistics_count_every_decision(limiter: Limiter) -> None:
    for _ in range(3):
        limiter.try_consume(2, now_us=START_US)
    with pytest.raises(RateLimited):
        limiter.check_and_consume(2, now_us=START_US)
    with pytest.raises(CostTooLarge):
        limiter.try_consume(4, now_us=START_US)

    assert limiter.statistics() == LimiterStatistics(allowed=1, refused=3, units_allowed=2, tokens_allowed=0)


def test_limiters_of_one_name_spend_one_budget_and_others_do_not(redis_client: Redis, realm: str) -> None:
    def make(name: str, realm: str) -> Limiter:
        return Limiter(redis_client, name, realm=realm, requests_per_minute=1)

    one, same, other, elsewhere = (
        make(name, where) for name, where in (("a", realm), ("a", realm), ("b", realm), ("a", f"{realm}-2"))
    )

    assert [limiter.try_consume(now_us=START_US) for limiter in (one, same, other, elsewhere)] == [True, False, True, True]


def test_a_url_does_as_well_as_a_client(server_url: str, redis_client: Redis, realm: str) -> None:
    limiter = Limiter(server_url, "github", realm=realm, requests_per_minute=1)

    assert limiter.try_consume()
    assert not limiter.try_consume()
    limiter.close()


def test_a_client_that_decodes_its_replies_does_as_well(server_url: str, redis_client: Redis, realm: str) -> None:
    with Redis.from_url(server_url, decode_responses=True) as client:
        limiter = Limiter(client, "github", realm=realm, requests_per_minute=1)

        assert limiter.check_and_consume(now_us=START_US).reset_after == 60.0
        assert limiter.available_tokens(now_us=START_US) == 0


@pytest.mark.parametrize("options", [{"protocol": 3}, {"single_connection_client": True}, {"max_connections": 1}])
def test_clients_of_other_settings_do_as_well(server_url: str, redis_client: Redis, realm: str, options: dict[str, Any]) -> None:
    with Redis.from_url(server_url, **options) as client:
        limiter = Limiter(client, "github", realm=realm, requests_per_minute=1)

        assert [limiter.try_consume(now_us=START_US) for _ in range(3)] == [True, False, False]


def test_limits_given_as_objects(redis_client: Redis, realm: str) -> None:
    limits = (window(10), bucket(3, refill=10))
    limiter = Limiter(redis_client, "github", limits, realm=realm)

    assert limiter.limits == limits
    assert repr(limiter) == "<Limiter github: 10 requests per 1m, bursts of 3 requests, 10 per 1m>"


def test_tokens_are_counted_beside_requests(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "llm", realm=realm, requests_per_minute=10, token_limits={"per_minute": 100})

    assert limiter.try_consume(tokens=60, now_us=START_US)
    assert not limiter.try_consume(tokens=60, now_us=START_US)
    assert limiter.available_tokens(now_us=START_US) == 9
    assert limiter.available_tokens(Unit.TOKENS, now_us=START_US) == 40
    assert limiter.statistics().tokens_allowed == 60


def test_a_limiter_of_tokens_alone_counts_no_requests(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "llm", realm=realm, token_limits={"per_minute": 100})

    assert limiter.try_consume(1_000, tokens=100, now_us=START_US)
    with pytest.raises(ValueError, match=r"unit: limiter 'llm' counts no requests, only 100 tokens per 1m"):
        limiter.available_tokens()


@pytest.mark.parametrize("n", [0, -1, 1.0, 1.5, True, "1", None])
def test_a_number_that_is_no_cost_is_refused_by_name(limiter: Limiter, n: Any) -> None:
    for verb in (limiter.check_and_consume, limiter.try_consume, limiter.acquire, limiter.peek):
        with pytest.raises(ValueError, match=rf"^n: {n!r} is not allowed; use a whole number of at least 1$"):
            verb(n)


@pytest.mark.parametrize("tokens", [-1, 0.5, False])
def test_tokens_that_are_no_cost_are_refused_by_name(limiter: Limiter, tokens: Any) -> None:
    with pytest.raises(ValueError, match=r"^tokens: .* at least 0$"):
        limiter.check_and_consume(tokens=tokens)


def test_what_never_fits_is_an_error_and_not_a_refusal(limiter: Limiter) -> None:
    for verb in (limiter.check_and_consume, limiter.try_consume, limiter.acquire, limiter.peek):
        with pytest.raises(CostTooLarge, match="costs 4, but github burst never holds more than 3"):
            verb(4)


def test_slots_are_taken_by_tokens_that_free_them(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "git", realm=realm, requests_per_minute=10, max_in_flight=2)

    with limiter.acquire(now_us=START_US), limiter.acquire(now_us=START_US):
        assert limiter.available_tokens(now_us=START_US) == 0
        with pytest.raises(RateLimited, match="git in_flight"):
            limiter.acquire(now_us=START_US)

    assert limiter.available_tokens(now_us=START_US) == 2


def test_a_slot_cannot_be_taken_by_a_verb_that_never_frees_it(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "git", realm=realm, max_in_flight=2)

    for verb in (limiter.check_and_consume, limiter.try_consume):
        with pytest.raises(TypeError, match=r"limiter 'git' has max_in_flight, .* use acquire\(\)"):
            verb()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "limits: none is given; add one such as requests_per_minute=60"),
        ({"requests_per_minut": 5}, "requests_per_minut: unknown key; did you mean 'requests_per_minute'?"),
        ({"requests_per_minute": 0}, "requests_per_minute: 0 is not allowed; use a whole number of at least 1"),
        ({"windows": [{"limit": 5, "per": "soon"}]}, "windows[0].per: 'soon' is not a duration"),
        ({"requests_per_minute": 5, "burst_capacity": 9}, "burst_capacity: 9 is above requests_per_minute = 5"),
        ({"limits": [window(5)], "max_in_flight": 9}, "limits: give either a tuple of limits or max_in_flight, not both"),
        ({"limits": [window(5), window(6)]}, "limits[1]: requests/1m is there twice"),
        ({"limits": [window(0)]}, "limits[0].capacity: 0 is not allowed"),
        ({"limits": [window(5, period_us=0)]}, "limits[0].period_us: 0 is not allowed"),
        ({"limits": [bucket(5, refill=0)]}, "limits[0].refill: 0 is not allowed"),
    ],
)
def test_limits_that_are_not_valid_say_what_to_do(redis_client: Redis, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        Limiter(redis_client, "github", **options)

    assert [line for line in error.value.problems if line.startswith(problem)] == list(error.value.problems)


def test_a_name_or_a_realm_that_is_not_possible_is_refused(redis_client: Redis) -> None:
    for name in ("", "a\nb", "x" * 201):
        with pytest.raises(InvalidScope, match="limiter"):
            Limiter(redis_client, name, requests_per_minute=1)
    with pytest.raises(InvalidScope, match="realm"):
        Limiter(redis_client, "github", realm="a b", requests_per_minute=1)


def test_a_client_of_the_other_kind_is_refused(redis_client: Redis, server_url: str) -> None:
    from redis.asyncio import Redis as AsyncRedis

    with pytest.raises(TypeError, match="Async class"):
        Limiter(AsyncRedis.from_url(server_url), "github", requests_per_minute=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot be awaited"):
        AsyncLimiter(redis_client, "github", requests_per_minute=1)  # type: ignore[arg-type]


def test_a_lease_that_never_lasts_is_refused(redis_client: Redis) -> None:
    with pytest.raises(ValueError, match="lease_s: 0 is not allowed"):
        Limiter(redis_client, "github", lease_s=0, requests_per_minute=1)


def test_nobody_answers_says_where() -> None:
    limiter = Limiter("redis://:secret@127.0.0.1:1/3", "github", requests_per_minute=1)

    for verb in (limiter.check_and_consume, limiter.try_consume, limiter.available_tokens, limiter.acquire):
        with pytest.raises(ServerUnreachable) as error:
            verb()
        assert str(error.value) == "no Redis at redis://127.0.0.1:1/3: connection refused. Start one, or correct the URL."


def test_threads_share_a_limiter(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "github", realm=realm, requests_per_minute=100)

    def spend() -> None:
        for _ in range(50):
            limiter.try_consume(now_us=START_US)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert limiter.statistics() == LimiterStatistics(allowed=100, refused=300, units_allowed=100)
    assert limiter.available_tokens(now_us=START_US) == 0


def test_it_spends_the_keys_that_the_scheduler_spends(calls: Calls) -> None:
    limiter = Limiter(calls.client, "service:llm_api", realm=calls.keys.realm, requests_per_minute=5)

    limiter.check_and_consume(now_us=START_US)

    assert keys_of(calls.client) == [f"{calls.keys.prefix}:limit:service:llm_api:requests/1m"]


def test_without_slots_no_random_name_is_made(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "a", (in_flight(1),), realm=realm, lease_s=MINUTE_US / SECOND_US)

    first = limiter.acquire(now_us=START_US)
    with pytest.raises(RateLimited) as refused:
        limiter.acquire(now_us=START_US)

    assert refused.value.decision.retry_after == 60.0
    first.ok(now_us=START_US)
    assert limiter.acquire(now_us=START_US).decision.allowed
