"""What services say of their limits is heard, and only ever tightens."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from limit_calls import START_US, keys_of, scripts_run
from turgor.limits import (
    AsyncHierarchicalLimiter,
    HierarchicalLimiter,
    Limiter,
    Observation,
    Outcome,
    Quota,
    RateLimited,
    Regulator,
    RegulatorState,
    Unit,
    UnknownService,
)
from turgor.limits.account_book import AccountBook
from turgor.limits.config import LimitsConfig
from turgor.limits.keys import Keys
from turgor.limits.limit import SECOND_US
from turgor.limits.regulator import OBSERVE, observing

LLM = "service:llm"
CONFIG: dict[str, Any] = {
    "services": {
        "llm": {
            "requests_per_minute": 10,
            "token_limits": {"per_minute": 1_000},
            "max_in_flight": 3,
            "endpoints": {"chat": {"requests_per_minute": 5}},
        },
        "git": {},
    }
}


def after(seconds: float) -> int:
    return START_US + round(seconds * SECOND_US)


def remaining(left: int, reset_s: float) -> dict[str, str]:
    return {"x-ratelimit-limit": "10", "x-ratelimit-remaining": str(left), "x-ratelimit-reset": f"{reset_s:g}"}


@dataclass(frozen=True)
class Realm:
    limiter: HierarchicalLimiter
    regulator: Regulator
    client: Redis
    keys: Keys

    def admits(self, at_us: int, *, tokens: int = 0, **names: str) -> bool:
        token = self.limiter.try_acquire({"service": "llm", **names}, tokens=tokens, now_us=at_us)
        if token is not None:
            token.ok(now_us=at_us)
        return token is not None

    def refusal(self, at_us: int, *, tokens: int = 0, **names: str) -> str:
        with pytest.raises(RateLimited) as refused:
            self.limiter.acquire({"service": "llm", **names}, tokens=tokens, now_us=at_us)
        return f"{refused.value.decision.binding} {refused.value.decision.retry_after:g}"

    def hear(self, *quotas: Quota, at_us: int = START_US, scope: str = LLM) -> None:
        """Observe quotas that no parser has read."""
        found, rules = AccountBook(LimitsConfig.load(CONFIG)).of_call((scope.removeprefix("service:"), "", "", "")).observed()
        values = observing(self.keys.prefix, found, rules, Observation(quotas), at_us)
        if values:
            OBSERVE(self.client, *values)


@pytest.fixture
def heard(redis_client: Redis, realm: str) -> Realm:
    limiter = HierarchicalLimiter(redis_client, CONFIG, realm=realm)
    return Realm(limiter, Regulator(redis_client, Keys(realm)), redis_client, Keys(realm))


def test_where_the_service_has_less_left_no_more_is_admitted_until_its_reset(heard: Realm) -> None:
    heard.limiter.observe("llm", remaining(2, 30), 200, now_us=START_US)

    assert [heard.admits(after(seconds)) for seconds in (1, 2, 3)] == [True, True, False]
    assert heard.refusal(after(3)) == "service:llm requests/observed 27"
    assert [heard.admits(after(30)) for _ in range(9)] == [True] * 8 + [False]
    assert heard.refusal(after(30)).startswith("service:llm requests/1m ")


def test_where_the_service_has_as_much_left_as_we_have_nothing_is_kept(heard: Realm) -> None:
    for left in (10, 11, 1_000_000):
        heard.limiter.observe("llm", remaining(left, 30), 200, now_us=START_US)

    assert heard.regulator.states(now_us=START_US) == ()
    assert [key for key in keys_of(heard.client, heard.keys("*")) if "regulator" in key] == []


def test_a_service_without_limits_of_ours_is_taken_at_its_word(heard: Realm) -> None:
    heard.limiter.observe("git", remaining(1, 30), 200, now_us=START_US)

    assert heard.admits(START_US, service="git")
    assert heard.refusal(START_US, service="git") == "service:git requests/observed 30"


def test_a_quota_of_tokens_holds_what_costs_more(heard: Realm) -> None:
    heard.hear(Quota(Unit.TOKENS, 1_000, 100, 20.0))

    assert heard.admits(START_US)
    assert heard.refusal(START_US, tokens=101) == "service:llm tokens/observed 20"
    assert heard.admits(START_US, tokens=60)
    assert heard.refusal(START_US, tokens=41) == "service:llm tokens/observed 20"
    assert heard.admits(after(20), tokens=900)


def test_a_word_that_comes_late_loosens_nothing(heard: Realm) -> None:
    heard.hear(Quota(Unit.REQUESTS, 10, 3, 30.0))
    heard.hear(Quota(Unit.REQUESTS, 10, 5, 29.0))
    heard.hear(Quota(Unit.REQUESTS, 10, 3, 25.0))

    assert heard.regulator.state(LLM, now_us=START_US).quotas == (Quota(Unit.REQUESTS, None, 3, 30.0),)


def test_a_minutes_and_an_hours_quota_hold_side_by_side(heard: Realm) -> None:
    heard.hear(Quota(Unit.REQUESTS, 10, 1, 10.0), Quota(Unit.REQUESTS, 600, 4, 3_600.0))

    assert str(heard.regulator.state(LLM, now_us=START_US)) == (
        "service:llm: open, 1 requests left for 10.0 s, 4 requests left for 3600.0 s"
    )
    assert [heard.admits(START_US), heard.admits(START_US)] == [True, False]
    assert [heard.admits(after(10)) for _ in range(4)] == [True, True, True, False]
    assert heard.refusal(after(10)) == "service:llm requests/observed 3590"


def test_an_endpoint_with_limits_is_spoken_of_and_one_without_shares_its_services(heard: Realm) -> None:
    heard.limiter.observe("llm", remaining(0, 30), 200, endpoint="chat", now_us=START_US)
    heard.limiter.observe("llm", remaining(1, 30), 200, endpoint="embed", now_us=START_US)

    assert [state.scope for state in heard.regulator.states(now_us=START_US)] == ["endpoint:llm/chat", LLM]


def test_429_closes_the_scope_for_everybody_once(heard: Realm) -> None:
    for seconds in (0, 1, 2):
        heard.limiter.observe("llm", {"Retry-After": str(30 - 10 * seconds)}, 429, now_us=after(seconds))

    assert heard.regulator.state(LLM, now_us=after(2)) == RegulatorState(LLM, closed_for_s=28.0, reason="throttled")
    assert heard.refusal(after(2), loop="somebody else") == "service:llm closed 28"


def test_429_without_a_time_closes_until_what_has_run_out_is_reset_or_for_a_second(heard: Realm) -> None:
    heard.limiter.observe("llm", remaining(0, 40), 429, now_us=START_US)
    heard.limiter.observe("git", {}, 429, now_us=START_US)

    assert [state.closed_for_s for state in heard.regulator.states(now_us=START_US)] == [1.0, 40.0]


def test_retry_after_of_a_call_that_was_not_refused_closes_nothing(heard: Realm) -> None:
    """202 and 301 say when to look again."""
    heard.limiter.observe("llm", {"Retry-After": "30"}, 202, now_us=START_US)

    assert heard.regulator.states(now_us=START_US) == ()


def test_a_response_that_says_nothing_costs_no_round_trip(heard: Realm) -> None:
    heard.limiter.refresh()
    before = scripts_run(heard.client)

    assert heard.limiter.observe("llm", {"content-type": "text/html"}, 200) == Observation()
    assert scripts_run(heard.client) == before


@pytest.mark.parametrize(
    "quota",
    [
        Quota(Unit.REQUESTS, None, 0, None),
        Quota(Unit.REQUESTS, None, None, 10.0),
        Quota(Unit.REQUESTS, None, 0, 0.0),
        Quota(Unit.REQUESTS, None, 0, -5.0),
        Quota(Unit.REQUESTS, None, 0, math.nan),
    ],
    ids=str,
)
def test_what_cannot_be_given_back_is_not_taken(heard: Realm, quota: Quota) -> None:
    heard.hear(quota)

    assert heard.regulator.states(now_us=START_US) == ()


@pytest.mark.parametrize(
    ("quota", "kept"),
    [
        (Quota(Unit.REQUESTS, None, -3, 10.0), Quota(Unit.REQUESTS, None, 0, 10.0)),
        (Quota(Unit.REQUESTS, None, 0, math.inf), Quota(Unit.REQUESTS, None, 0, 86_400.0)),
        (Quota(Unit.REQUESTS, None, 0, 1e300), Quota(Unit.REQUESTS, None, 0, 86_400.0)),
    ],
    ids=str,
)
def test_what_a_service_says_is_kept_within_bounds(heard: Realm, quota: Quota, kept: Quota) -> None:
    heard.hear(quota)

    assert heard.regulator.state(LLM, now_us=START_US).quotas == (kept,)


def test_an_unknown_service_is_answered_with_the_known_ones(heard: Realm) -> None:
    with pytest.raises(UnknownService, match=r"unknown service 'lmm'\. Did you mean 'llm'\? Known: git, llm"):
        heard.limiter.observe("lmm", {}, 200)


def test_two_observers_at_once_agree_on_the_stricter_word(heard: Realm) -> None:
    words = [(left, 20.0 + left) for left in range(1, 9)] * 6
    random.Random(1).shuffle(words)

    def observe(word: tuple[int, float]) -> Observation:
        return heard.limiter.observe("llm", remaining(*word), 200, now_us=START_US)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(observe, words))

    assert heard.regulator.state(LLM, now_us=START_US).quotas[0] == Quota(Unit.REQUESTS, None, 1, 21.0)
    assert [heard.admits(START_US), heard.admits(START_US)] == [True, False]


def test_observing_lifts_with_the_word_of_an_operator(heard: Realm) -> None:
    heard.limiter.observe("llm", remaining(0, 30), 429, now_us=START_US)
    heard.regulator.resume(LLM, now_us=START_US)

    assert heard.admits(START_US)


@dataclass
class Staircase:
    """The statements that are kept, as `lua/parts/quota.lua` keeps them: (left, resets), the first reset first."""

    kept: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def hear(self, now_us: int, left: int, resets_us: int) -> None:
        self.kept = [each for each in self.kept if each[1] > now_us]
        if any(old <= left and resets >= resets_us for old, resets in self.kept):
            return
        stricter = [each for each in self.kept if each[0] < left or each[1] > resets_us]
        self.kept = sorted([*stricter, (left, resets_us)], key=lambda each: each[1])[:4]

    def admits_at(self, now_us: int, units: int) -> int:
        return max([now_us, *(resets for left, resets in self.kept if left < units)])

    def charge(self, units: int) -> None:
        self.kept = [(max(0, left - units), resets) for left, resets in self.kept]


@pytest.mark.parametrize("seed", range(4))
def test_the_staircase_agrees_with_plain_python_in_random_order(heard: Realm, seed: int) -> None:
    rng, oracle, at_us = random.Random(seed), Staircase(), START_US
    for _ in range(300):
        at_us += rng.randrange(2 * SECOND_US)
        if rng.random() < 0.4:
            left, reset_s = rng.randrange(12), rng.choice((0.5, 3.0, 20.0, 90.0))
            heard.hear(Quota(Unit.REQUESTS, None, left, reset_s), at_us=at_us, scope="service:git")
            oracle.hear(at_us, left, at_us + round(reset_s * SECOND_US))
        else:
            units = rng.randrange(1, 4)
            due_us = oracle.admits_at(at_us, units)
            if due_us <= at_us:
                heard.limiter.acquire(service="git", weight=units, now_us=at_us)
                oracle.charge(units)
                continue
            with pytest.raises(RateLimited) as refused:
                heard.limiter.acquire(service="git", weight=units, now_us=at_us)
            assert round(refused.value.decision.retry_after * SECOND_US) == due_us - at_us
    assert oracle.kept


def test_a_throttled_call_closes_its_service_and_spends_no_tokens(heard: Realm) -> None:
    token = heard.limiter.acquire(service="llm", tokens=400, now_us=START_US)
    token.throttled(30, now_us=START_US)

    assert (token.outcome, token.tokens) == (Outcome.THROTTLED, 0)
    assert heard.refusal(START_US) == "service:llm closed 30"
    assert [usage.remaining for usage in heard.limiter.usage(LLM, now_us=START_US)] == [9, 3, 1_000]


def test_tokens_that_were_settled_stay_spent_when_the_call_is_throttled(heard: Realm) -> None:
    token = heard.limiter.acquire(service="llm", tokens=400, now_us=START_US)
    token.settle(100, now_us=START_US)
    token.throttled(timedelta(minutes=1), now_us=START_US)

    assert heard.limiter.usage(LLM, now_us=START_US)[2].remaining == 900
    assert heard.regulator.state(LLM, now_us=START_US).closed_for_s == 60.0


def test_a_throttled_call_of_an_endpoint_closes_the_endpoint(heard: Realm) -> None:
    heard.limiter.acquire(service="llm", endpoint="chat", now_us=START_US).throttled(now_us=START_US)

    assert heard.regulator.states(now_us=START_US) == (RegulatorState("endpoint:llm/chat", closed_for_s=1.0, reason="throttled"),)


def test_a_throttled_call_of_no_service_closes_nothing(redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, {"global": {"requests_per_minute": 5}}, realm=realm)
    token = limiter.acquire(loop="a", now_us=START_US)
    token.throttled(30, now_us=START_US)

    assert token.outcome is Outcome.THROTTLED
    assert limiter.try_acquire(loop="a", now_us=START_US)


def test_a_limiter_of_one_scope_closes_it(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "github", requests_per_minute=60, realm=realm)
    limiter.acquire(now_us=START_US).throttled(30, now_us=START_US)

    assert limiter.peek(now_us=START_US).binding == "github closed"


def test_ending_a_call_twice_closes_once(heard: Realm) -> None:
    token = heard.limiter.acquire(service="llm", now_us=START_US)
    token.throttled(5, now_us=START_US)
    token.throttled(500, now_us=START_US)
    token.ok(now_us=START_US)

    assert token.outcome is Outcome.THROTTLED
    assert heard.regulator.state(LLM, now_us=START_US).closed_for_s == 5.0


def test_an_observed_429_ends_the_call_as_throttled(heard: Realm) -> None:
    with heard.limiter.acquire(service="llm", tokens=400, now_us=START_US) as token:
        heard_of = token.observe({"Retry-After": "7"}, 429, now_us=START_US)

    assert heard_of == Observation((), 7.0, is_throttled=True)
    assert token.outcome is Outcome.THROTTLED
    assert [usage.remaining for usage in heard.limiter.usage(LLM, now_us=START_US)] == [9, 3, 1_000]
    assert heard.refusal(START_US) == "service:llm closed 7"


def test_what_opens_after_a_429_opens_as_a_ramp(heard: Realm) -> None:
    heard.limiter.acquire(service="llm", now_us=START_US).throttled(10, now_us=START_US)

    assert heard.admits(after(10))
    assert heard.refusal(after(10)) == "service:llm reopening 0.5"


@pytest.mark.parametrize("retry_after", ["30", True, object()])
def test_what_is_no_time_is_refused_before_anything_is_closed(heard: Realm, retry_after: Any) -> None:
    token = heard.limiter.acquire(service="llm", now_us=START_US)
    with pytest.raises(TypeError, match=r"^retry_after: "):
        token.throttled(retry_after)
    assert heard.regulator.states(now_us=START_US) == ()


def test_the_async_limiter_hears_the_same(server_url: str, redis_client: Redis, realm: str) -> None:
    async def calls() -> Iterable[RegulatorState]:
        async with AsyncRedis.from_url(server_url) as client:
            limiter = AsyncHierarchicalLimiter(client, CONFIG, realm=realm)
            await limiter.observe("llm", remaining(2, 30), 200, now_us=START_US)
            async with await limiter.acquire(service="llm", tokens=5, now_us=START_US) as token:
                await token.observe({"Retry-After": "7"}, 429, now_us=START_US)
            assert token.outcome is Outcome.THROTTLED
            other = await limiter.acquire(service="git", now_us=START_US)
            await other.throttled(3, now_us=START_US)
            assert not await limiter.try_acquire(service="git", now_us=START_US)
        return Regulator(redis_client, Keys(realm)).states(now_us=START_US)

    assert asyncio.run(calls()) == (
        RegulatorState("service:git", closed_for_s=3.0, reason="throttled"),
        RegulatorState(LLM, closed_for_s=7.0, reason="throttled", quotas=(Quota(Unit.REQUESTS, None, 1, 30.0),)),
    )
