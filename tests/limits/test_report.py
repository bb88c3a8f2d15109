"""report.lua and health.lua: the state before, the call, the state after. And who calls them: rate tokens."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from limit_calls import START_US, Calls, keys_of, ttl_ms
from turgor.limits import (
    AsyncHierarchicalLimiter,
    Call,
    Circuit,
    CostTooLarge,
    HierarchicalLimiter,
    LimitsConfig,
    RateLimited,
    RateToken,
    ServiceHealth,
    UnknownService,
)
from turgor.limits.adaptive import AdaptiveState
from turgor.limits.breaker import BreakerState, Cell
from turgor.limits.limit import SECOND_US
from turgor.limits.outcome import Outcome
from turgor.limits.rate_token import REPORT
from turgor.limits.registry import LimitsRegistry
from turgor.limits.service_health import HEALTH, adaptive_state, breaker_state
from turgor.limits.teller import ACQUIRE

BREAKER: dict[str, Any] = {
    "minimum_calls": 2,
    "window": "10s",
    "cool_down": "8s",
    "max_cool_down": "60s",
    "probes": 1,
    "ramp": "10s",
}
ADAPTIVE: dict[str, Any] = {"floor": 0.1, "decrease": 0.5, "recovery": "100s", "reaction": "2s"}
CONFIG: dict[str, Any] = {"services": {"api": {"requests_per_minute": 60, "breaker": BREAKER, "adaptive": ADAPTIVE}, "plain": {}}}
SCOPE = "service:api"
WHOLE = AdaptiveState()


def at(seconds: float) -> int:
    return START_US + round(seconds * SECOND_US)


class End(NamedTuple):
    at_s: float
    outcome: Outcome
    holder: str = "h"
    admitted_s: float = -1.0


class Admission(NamedTuple):
    at_s: float
    holder: str


def perform(calls: Calls, step: End | Admission) -> None:
    if isinstance(step, End):
        REPORT(calls.client, calls.keys.prefix, at(step.at_s), "api", step.outcome, step.holder, at(step.admitted_s))
    else:
        ACQUIRE(calls.client, calls.keys.prefix, at(step.at_s), step.holder, 60 * SECOND_US, 1, 0, "", SCOPE, "")


def state(calls: Calls, at_s: float) -> tuple[BreakerState, AdaptiveState]:
    reply = HEALTH(calls.client, calls.keys.prefix, at(at_s), "api")
    return breaker_state(reply), adaptive_state(reply)


FAILED, OK, THROTTLED = Outcome.FAILED, Outcome.OK, Outcome.THROTTLED
TRIPPED = [End(0, FAILED), End(0, FAILED)]
OPEN = BreakerState(Circuit.OPEN, at(0), at(8), trips=1)
CUT = AdaptiveState(0.5, at(0), at(0))


class Case(NamedTuple):
    rule: str
    given: list[End | Admission]
    call: End | Admission
    circuit: BreakerState
    share: AdaptiveState = WHOLE


CASES = [
    Case("a success is counted", [], End(0.5, OK), BreakerState(cells=(Cell(at(0), 1, 0),))),
    Case("a failure is counted, and cuts", [], End(0, FAILED), BreakerState(cells=(Cell(at(0), 0, 1),)), CUT),
    Case("a refusal is not counted, and cuts", [], End(0, THROTTLED), BreakerState(), CUT),
    Case("an end that says nothing changes nothing", [], End(0, Outcome.OPEN), BreakerState()),
    Case("enough failures open it, and count once for the share", [End(0, FAILED)], End(0, FAILED), OPEN, CUT),
    Case("a call of before says nothing to an open one", [*TRIPPED], End(1, FAILED), OPEN, CUT),
    Case(
        "who is admitted after the cool-down is a probe",
        [*TRIPPED],
        Admission(9, "p"),
        BreakerState(Circuit.HALF_OPEN, at(8), at(8), trips=1, probing={"p": at(69)}),
        CUT,
    ),
    Case(
        "a probe that succeeds closes it, and the share grows by a reaction at most",
        [*TRIPPED, Admission(9, "p")],
        End(10, OK, "p"),
        BreakerState(Circuit.CLOSED, at(10), trips=1),
        AdaptiveState(0.52, at(0), at(10)),
    ),
    Case(
        "a probe that fails opens it for twice as long, and cuts again",
        [*TRIPPED, Admission(9, "p")],
        End(10, FAILED, "p", admitted_s=9),
        BreakerState(Circuit.OPEN, at(10), at(26), trips=2),
        AdaptiveState(0.25, at(10), at(10)),
    ),
    Case(
        "who is no probe does not decide",
        [*TRIPPED, Admission(9, "p")],
        End(10, Outcome.OPEN, "q"),
        BreakerState(Circuit.HALF_OPEN, at(8), at(8), trips=1, probing={"p": at(69)}),
        CUT,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_an_outcome_changes_what_is_stored(calls: Calls, case: Case) -> None:
    LimitsRegistry(calls.client, calls.keys).publish(LimitsConfig.load(CONFIG))
    for step in case.given:
        perform(calls, step)

    perform(calls, case.call)

    circuit, share = state(calls, case.call.at_s)
    assert (circuit, share) == (case.circuit, case.share)


def test_whatever_a_report_writes_expires(calls: Calls) -> None:
    LimitsRegistry(calls.client, calls.keys).publish(LimitsConfig.load(CONFIG))
    before = set(keys_of(calls.client))

    for step in (*TRIPPED, Admission(9, "p"), End(10, OK, "p"), End(11, OK)):
        perform(calls, step)

    written = set(keys_of(calls.client)) - before
    names = {key.removeprefix(f"{calls.keys.prefix}:") for key in written}
    assert names == {f"calls:{SCOPE}", f"regulator:{SCOPE}", "regulators", "transitions"}
    assert all(ttl_ms(calls.client, key) > 0 for key in written)


def test_a_service_with_neither_is_not_written_down(calls: Calls) -> None:
    LimitsRegistry(calls.client, calls.keys).publish(LimitsConfig.load(CONFIG))
    before = keys_of(calls.client)

    REPORT(calls.client, calls.keys.prefix, START_US, "plain", Outcome.FAILED, "h", START_US)

    assert keys_of(calls.client) == before


@pytest.fixture
def limiter(redis_client: Redis, realm: str) -> HierarchicalLimiter:
    return HierarchicalLimiter(redis_client, CONFIG, realm=realm)


@pytest.mark.parametrize("end", ["ok", "failed", "throttled"])
def test_a_token_reports_its_end_once(limiter: HierarchicalLimiter, end: str) -> None:
    token = limiter.acquire(service="api", now_us=START_US)

    for _ in range(2):
        getattr(token, end)(now_us=START_US)

    found = limiter.health("api", now_us=START_US)
    calls, failure_ratio, factor = {"ok": (1, 0.0, 1.0), "failed": (1, 1.0, 0.5), "throttled": (0, 0.0, 0.5)}[end]
    assert found == ServiceHealth("api", Circuit.CLOSED, calls=calls, failure_ratio=failure_ratio, factor=factor, share=factor)


def test_an_exception_inside_the_block_is_a_failure(limiter: HierarchicalLimiter) -> None:
    with pytest.raises(ConnectionError), limiter.acquire(service="api"):
        raise ConnectionError

    assert limiter.health("api").failure_ratio == 1.0


def test_the_asynchronous_limiter_reports_and_says_the_same(redis_client: Redis, server_url: str, realm: str) -> None:
    async def fail_twice() -> ServiceHealth:
        async with AsyncRedis.from_url(server_url) as client:
            limiter = AsyncHierarchicalLimiter(client, CONFIG, realm=realm)
            for _ in range(2):
                await (await limiter.acquire(service="api", now_us=START_US)).failed(now_us=START_US)
            return await limiter.health("api", now_us=START_US)

    health = asyncio.run(fail_twice())

    assert (health.circuit, health.opens_in_s) == (Circuit.OPEN, 8.0)
    assert health == HierarchicalLimiter(redis_client, realm=realm).health("api", now_us=START_US)


def test_health_names_the_service_that_is_not_there(limiter: HierarchicalLimiter) -> None:
    with pytest.raises(UnknownService, match="Did you mean 'api'"):
        limiter.health("apj")
    assert str(limiter.health("plain")) == "service:plain: no breaker"


def test_what_closed_ramps_up_and_the_factor_applies_besides(limiter: HierarchicalLimiter) -> None:
    """Sixty a minute: a tenth of a half, then all of the half."""
    for _ in range(2):
        limiter.acquire(service="api", now_us=START_US).failed(now_us=START_US)
    limiter.acquire(service="api", now_us=at(8)).ok(now_us=at(8))

    closed = limiter.health("api", now_us=at(8))
    later = limiter.health("api", now_us=at(18))

    assert (closed.factor, closed.share) == (pytest.approx(0.52), pytest.approx(0.052))
    assert (later.factor, later.share) == (pytest.approx(0.52), pytest.approx(0.52))
    assert [limiter.usage("service:api", now_us=at(second))[0].remaining for second in (8, 18)] == [0, 28]
    assert str(closed).endswith("breaker closed, since 2027-01-15 08:00:08 UTC, 5% of its limits")


def cut(redis_client: Redis, realm: str, **limits: Any) -> HierarchicalLimiter:
    """A limiter of which half is left."""
    limiter = HierarchicalLimiter(redis_client, {"services": {"api": {**limits, "adaptive": ADAPTIVE}}}, realm=realm)
    limiter.acquire(service="api", now_us=at(-3_600)).failed(now_us=at(-3_600))
    return limiter


def refusal(limiter: HierarchicalLimiter, *, tokens: int = 0) -> float:
    """Seconds until a call is admitted; 0.0 where it is."""
    try:
        limiter.acquire(service="api", tokens=tokens, now_us=START_US)
    except RateLimited as refused:
        return refused.decision.retry_after
    return 0.0


def test_a_bucket_keeps_its_share_of_the_burst_and_of_the_refill(redis_client: Redis, realm: str) -> None:
    """Bursts of 10, one in 10 ms: at a half, bursts of 5, one in 20 ms."""
    limiter = cut(redis_client, realm, requests_per_second=100, burst_capacity=10)

    assert [refusal(limiter) for _ in range(6)] == [0.0] * 5 + [0.02]


def test_a_batch_scales_a_limit_that_its_calls_share_once(redis_client: Redis, realm: str) -> None:
    """Two loops, so two accounts, and the same sixty a minute of which half is left."""
    limiter = cut(redis_client, realm, requests_per_minute=60)

    found = limiter.acquire_many([Call(service="api", loop=f"loop-{number % 2}") for number in range(40)], now_us=START_US)

    assert [isinstance(each, RateToken) for each in found] == [True] * 30 + [False] * 10


def test_a_cap_keeps_its_share_of_the_slots(redis_client: Redis, realm: str) -> None:
    limiter = cut(redis_client, realm, max_in_flight=5)

    assert [refusal(limiter) > 0 for _ in range(3)] == [False, False, True]


def test_what_costs_more_than_the_share_is_admitted_by_an_unused_window_and_charged_in_full(
    redis_client: Redis, realm: str
) -> None:
    limiter = cut(redis_client, realm, token_limits={"per_minute": 100})

    assert [refusal(limiter, tokens=tokens) for tokens in (80, 1)] == [0.0, 60.0]
    redis_client.delete(f"{{turgor:{realm}}}:regulator:{SCOPE}")
    assert limiter.usage(SCOPE, now_us=START_US)[0].remaining == 20


def test_what_costs_more_than_the_limit_itself_is_refused_for_good(redis_client: Redis, realm: str) -> None:
    limiter = cut(redis_client, realm, token_limits={"per_minute": 100})

    with pytest.raises(CostTooLarge, match="never holds more than 100"):
        limiter.acquire(service="api", tokens=101, now_us=START_US)
