"""Defects that were reproduced in limiter libraries. Each test tells one, and fails for a limiter that has it."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any, cast

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from limit_calls import (
    MINUTE_US,
    START_US,
    Ask,
    Calls,
    OwnServer,
    bucket,
    in_flight,
    keys_of,
    new_scope,
    scripts_run,
    server_time_us,
    ttl_ms,
    window,
)
from turgor.limits import HierarchicalLimiter, Limit, Limiter, Unit
from turgor.limits.account import Account
from turgor.limits.limit import SECOND_US
from turgor.limits.lua import Script
from turgor.limits.rate_token import SETTLE
from turgor.limits.teller import ACQUIRE, PEEK

HOUR_US = 3_600 * SECOND_US


def test_a_fast_bucket_is_not_deleted_by_an_expiry_of_zero(redis_client: Redis, realm: str) -> None:
    """100/s with burst 10: its state is spent after 100 ms. Rounded down to 0 s, the expiry deleted it: 1,000 of 1,000 passed."""
    limiter = Limiter(redis_client, "fast", (bucket(10, refill=100, period_us=SECOND_US),), realm=realm)

    began = time.monotonic()
    passed = sum(limiter.try_consume() for _ in range(1_000))
    elapsed_s = time.monotonic() - began

    assert 10 <= passed <= 10 + 100 * elapsed_s + 1


@pytest.mark.parametrize(
    ("limit", "spent_after_us"),
    [
        (bucket(10, refill=100, period_us=SECOND_US), 10_000),
        (bucket(2, refill=2, period_us=HOUR_US), HOUR_US // 2),
        (window(2, HOUR_US), HOUR_US),
        (window(5, 1_500), 1_500),
        (in_flight(2), MINUTE_US),
    ],
    ids=str,
)
def test_a_state_outlives_its_use_and_not_by_much(calls: Calls, limit: Limit, spent_after_us: int) -> None:
    """2/hour whose state expired after 30 s idle admitted again after 31 s. And without an expiry, keys pile up for ever."""
    scope = new_scope()

    reply = ACQUIRE(calls.client, calls.keys.prefix, "", "h", MINUTE_US, 1, 0, "", *Account([(scope, limit)]).rules)

    spent_at_us = int(reply[5]) + spent_after_us
    before_us = server_time_us(calls.client)
    left_us = ttl_ms(calls.client, calls.key(scope, limit)) * 1_000
    after_us = server_time_us(calls.client)
    # Rounded up to a millisecond, one more to be sure, and the server's own clock of keys counts whole ones.
    assert before_us + left_us <= spent_at_us + 3_000
    has_expired = left_us < 0 and after_us > spent_at_us
    assert has_expired or after_us + left_us + 1_000 >= spent_at_us


def test_a_slow_bucket_is_not_forgotten_while_idle(calls: Calls) -> None:
    limit = bucket(2, refill=2, period_us=HOUR_US)
    account = Account([(new_scope(), limit)])

    replies = calls.acquire_all(account, [Ask(START_US), Ask(START_US), Ask(START_US + 31 * SECOND_US)])

    assert [reply[0] for reply in replies] == [1, 1, 0]


def test_every_key_that_a_limiter_writes_expires(redis_client: Redis, realm: str) -> None:
    tables: dict[str, Any] = {
        "global": {"requests_per_second": 100, "burst_capacity": 10, "max_in_flight": 50},
        "services": {"a": {"requests_per_day": 100, "token_limits": {"per_minute": 1_000}}},
        "loops": {"*": {"requests_per_minute": 5}},
    }
    limiter = HierarchicalLimiter(redis_client, tables, realm=realm)
    for number in range(20):
        token = limiter.try_acquire(service="a", loop=f"l{number % 3}", tokens=70)
        if token is not None and number % 2:
            token.settle(10)
            token.ok()
        elif token is not None:
            token.settle(90)

    definitions = {"version", "config", "configs", "history", "brought", "brought:limiter", "limits:1", "bell"}
    state = [key for key in keys_of(redis_client) if key.partition("}:")[2] not in definitions]
    assert len(state) > 8
    assert [key for key in state if ttl_ms(redis_client, key) < 0] == []


def test_16_digits_of_time_survive_the_store(calls: Calls) -> None:
    """A time kept with 14 digits is off by up to 50 µs at each step: 5 to 16% too many units were refilled."""
    limit, at_us = bucket(1, refill=10_000, period_us=SECOND_US), START_US + 1
    account = Account([(new_scope(), limit)])

    for _ in range(200):
        allowed, _, _, _, reset_after_us, _ = calls.acquire(account, Ask(at_us))
        assert (allowed, reset_after_us) == (1, 100)
        assert calls.acquire(account, Ask(at_us + 99))[3] == 1
        at_us += 100


def test_a_period_is_divided_once(calls: Calls) -> None:
    """600/min behaved as one per 5.95 s."""
    account = Account([(new_scope(), bucket(1, refill=600))])

    replies = calls.acquire_all(account, [Ask(START_US + number * 100_000) for number in range(600)])

    assert sum(reply[0] for reply in replies) == 600


def test_a_refused_caller_takes_no_slot(calls: Calls) -> None:
    """After a burst of refusals the next wait was 8.9 s."""
    account = Account([(new_scope(), bucket(1, refill=60)), (new_scope(), window(60))])
    calls.acquire(account, Ask(START_US))

    waits = {calls.acquire(account, Ask(START_US))[3] for _ in range(100)}

    assert waits == {SECOND_US}


@pytest.mark.parametrize("script", [ACQUIRE, PEEK, SETTLE], ids=lambda script: script.path.stem)
def test_a_server_that_forgot_the_scripts_is_told_them_again(redis_client: Redis, realm: str, script: Script) -> None:
    """NOSCRIPT after a restart or a failover reached the user."""
    limiter = Limiter(redis_client, "a", realm=realm, requests_per_minute=5, max_in_flight=5)
    limiter.acquire().ok()

    redis_client.script_flush()

    assert limiter.available_tokens() == 4
    redis_client.script_flush()
    token = limiter.acquire()
    redis_client.script_flush()
    token.ok()
    assert limiter.available_tokens() == 3
    assert redis_client.script_exists(script.sha) == [script is not ACQUIRE]


def test_a_change_of_kind_on_a_live_key_is_no_wrong_type(redis_client: Redis, realm: str) -> None:
    """Each kind of limit has keys of its own, so a limit that becomes another starts unused and raises nothing."""
    kinds: list[dict[str, Any]] = [
        {"requests_per_minute": 50},
        {"requests_per_minute": 50, "burst_capacity": 10},
        {"max_in_flight": 3},
        {"token_limits": {"per_minute": 100}},
        {"windows": [{"limit": 50, "per": "60s"}]},
    ]
    limiter = HierarchicalLimiter(redis_client, realm=realm)
    for table in [*kinds, *reversed(kinds)]:
        HierarchicalLimiter(redis_client, {"services": {"a": table}}, realm=realm).refresh()
        limiter.refresh()
        with limiter.acquire(service="a", tokens=10) as token:
            token.settle(5)
        limiter.usage("service:a")


@pytest.mark.parametrize(
    ("refill", "period_us"), [(7, SECOND_US), (900_000, MINUTE_US), (11_000, SECOND_US), (3, 10 * SECOND_US)]
)
def test_the_remainder_of_a_refill_is_not_dropped(calls: Calls, refill: int, period_us: int) -> None:
    """0.990 of the rate was left."""
    units = max(1, refill // 1_000)
    limit = bucket(10 * units, refill=refill, period_us=period_us)
    step_us = period_us * units // refill // 4

    replies = calls.acquire_all(
        Account([(new_scope(), limit)]), [Ask(START_US + number * step_us, requests=units) for number in range(8_000)]
    )

    passed = sum(reply[0] for reply in replies) * units
    assert passed >= 0.995 * 8_000 * step_us * refill / period_us


@pytest.mark.parametrize(
    ("before", "after", "remaining"),
    [
        (bucket(10, refill=60), bucket(10, refill=600), 2),
        (bucket(10, refill=60), bucket(10, refill=6), 2),
        (bucket(10, refill=60), bucket(20, refill=60), 12),
        (bucket(10, refill=60), bucket(5, refill=60), 0),
        (window(10), window(20), 12),
        (window(10), window(5), 0),
    ],
    ids=str,
)
def test_a_change_of_a_limit_neither_refills_nor_empties_it(calls: Calls, before: Limit, after: Limit, remaining: int) -> None:
    """Whoever changed a limit got a full bucket (agentgateway/agentgateway#3351)."""
    scope = new_scope()
    calls.acquire(Account([(scope, before)]), Ask(START_US, requests=8))

    assert calls.peek(Account([(scope, after)]), START_US)[0] == remaining


def test_calls_at_once_do_not_overrun_a_budget_of_tokens(redis_client: Redis, realm: str) -> None:
    """663 tokens were spent under a limit of 100, because calls were counted when they ended (BerriAI/litellm#18730)."""
    limiter = Limiter(redis_client, "llm", realm=realm, token_limits={"per_minute": 100})

    passed = sum(limiter.try_consume(tokens=30, now_us=START_US) for _ in range(20))

    assert passed == 3


def test_the_first_call_may_reserve_the_whole_budget_of_tokens(redis_client: Redis, realm: str) -> None:
    """Then more was reserved than a call could cost, and the first one was refused (BerriAI/litellm#29193)."""
    limiter = Limiter(redis_client, "llm", realm=realm, token_limits={"per_minute": 100})

    token = limiter.acquire(tokens=100, now_us=START_US)
    token.settle(37, now_us=START_US)

    assert limiter.available_tokens(Unit.TOKENS, now_us=START_US) == 63


def test_every_counter_that_is_shown_counts(redis_client: Redis, realm: str) -> None:
    """Counters were shown that nothing ever incremented."""
    limiter = Limiter(redis_client, "a", realm=realm, requests_per_minute=3, token_limits={"per_minute": 100})
    for _ in range(2):
        limiter.try_consume(2, tokens=20, now_us=START_US)

    shown = asdict(limiter.statistics())

    # What is decided without the server is counted in test_unreachable.py.
    assert shown == {"allowed": 1, "refused": 1, "units_allowed": 2, "tokens_allowed": 20, "local": 0, "open": 0}
    assert [(each.used, each.remaining) for each in limiter.usage(now_us=START_US)] == [(2, 1), (20, 80)]


SKEWED = """
import sys, time
real = time.time
time.time = lambda: real() + float(sys.argv[3])
time.time_ns = lambda: int(time.time() * 1e9)
time.monotonic = lambda base=time.monotonic: base() + float(sys.argv[3])
from turgor.limits import Limiter
limiter = Limiter(sys.argv[1], "skewed", realm=sys.argv[2], requests_per_hour=100)
print(sum(limiter.try_consume() for _ in range(60)))
"""


def test_the_clocks_of_clients_do_not_matter(server_url: str, redis_client: Redis, realm: str) -> None:
    """100 ms of skew took a sliding log from 100 to 199 in a second. Here they are hours apart."""
    clients = [
        subprocess.Popen([sys.executable, "-c", SKEWED, server_url, realm, skew], stdout=subprocess.PIPE)
        for skew in ("0", "7200", "-7200")
    ]

    passed = [int(client.communicate()[0]) for client in clients]

    assert sum(passed) == 100


def test_a_key_of_a_bucket_is_small(calls: Calls) -> None:
    limit = bucket(10, refill=60)
    account = Account([("service:llm_api", limit)])

    calls.acquire(account, Ask(START_US))

    size = calls.client.memory_usage(calls.key("service:llm_api", limit))
    assert size is not None
    assert size <= 120


def test_a_window_s_memory_is_bounded_however_many_it_counts(calls: Calls) -> None:
    limit = window(10**6)
    account = Account([("service:llm_api", limit)])

    calls.acquire_all(account, [Ask(START_US + number * 31_000) for number in range(4_000)])

    assert calls.client.strlen(calls.key("service:llm_api", limit)) <= 16 + 101 * 16


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_server_that_restarts_with_aof_keeps_every_limit(own_server: OwnServer, realm: str, end: str) -> None:
    tables: dict[str, Any] = {
        "services": {"a": {"requests_per_hour": 10, "burst_capacity": 4, "max_in_flight": 5, "token_limits": {"per_hour": 100}}}
    }
    with own_server.client() as client:
        limiter = HierarchicalLimiter(client, tables, realm=realm)
        for _ in range(3):
            limiter.acquire(service="a", tokens=20)
        before = [usage.remaining for usage in limiter.usage("service:a")]

        getattr(own_server, end)()
        own_server.restart()

        assert [usage.remaining for usage in limiter.usage("service:a")] == before == [7, 1, 2, 40]
        assert limiter.acquire(service="a").decision.binding == "service:a burst"
        assert limiter.try_acquire(service="a") is None


def test_a_refund_whose_reply_was_lost_is_made_once(server_url: str, redis_client: Redis, realm: str) -> None:
    """redis-py sends a command again when its reply was lost: 18 of 20 publishes came twice."""
    with Redis.from_url(server_url, retry=Retry(NoBackoff(), 3), connection_class=Lossy) as client:
        limiter = Limiter(client, "llm", realm=realm, token_limits={"per_minute": 1_000})
        limiter.acquire(tokens=500).ok()
        token = limiter.acquire(tokens=400)
        before = scripts_run(redis_client)
        Lossy.to_lose = 1

        token.settle(100)

        assert scripts_run(redis_client) == before + 2
        assert limiter.available_tokens(Unit.TOKENS) == 400


class Lossy(Connection):
    """Loses the next reply, when the server has done what it was asked."""

    to_lose = 0

    def read_response(self, *args: Any, **options: Any) -> object:
        reply = cast("object", super().read_response(*args, **options))  # pyright: ignore[reportUnknownArgumentType]
        if Lossy.to_lose:
            Lossy.to_lose -= 1
            self.disconnect()
            raise RedisConnectionError("lost")
        return reply
