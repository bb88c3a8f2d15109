"""What holds a scope back besides its limits: tables of calls, in a time that the test passes."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from redis import Redis

from limit_calls import START_US, keys_of, ttl_ms
from turgor.limits import HierarchicalLimiter, InvalidScope, Limiter, RateLimited
from turgor.limits.keys import Keys
from turgor.limits.limit import SECOND_US
from turgor.limits.regulator import Regulator, RegulatorState

LLM = "service:llm"
CONFIG = {"services": {"llm": {"requests_per_minute": 600, "endpoints": {"chat": {"requests_per_minute": 600}}}, "git": {}}}
ROUND_US = 500_000


def after(seconds: float) -> int:
    return START_US + round(seconds * SECOND_US)


@dataclass(frozen=True)
class Realm:
    regulator: Regulator
    limiter: HierarchicalLimiter

    def refusal(self, at_us: int, **names: str) -> str:
        """What refuses a call, and for how long; `""` where it is admitted."""
        try:
            self.limiter.acquire(names, now_us=at_us)
        except RateLimited as refused:
            return f"{refused.decision.binding} {refused.decision.retry_after:g}"
        return ""


@pytest.fixture
def held(redis_client: Redis, realm: str) -> Realm:
    return Realm(Regulator(redis_client, Keys(realm)), HierarchicalLimiter(redis_client, CONFIG, realm=realm))


def ramp_us(admissions: int) -> int:
    """When the admission of this number (from 1) is due after the opening: each round admits twice as many as the last."""
    doublings = admissions.bit_length() - 1
    return math.ceil(ROUND_US * (doublings + admissions / 2**doublings - 1))


def test_the_ramp_by_hand() -> None:
    assert [ramp_us(number) for number in (1, 2, 3, 4, 5, 6, 7, 8, 1024)] == [
        0, 500_000, 750_000, 1_000_000, 1_125_000, 1_250_000, 1_375_000, 1_500_000, 5_000_000,
    ]  # fmt: skip


def test_a_closed_scope_refuses_until_it_opens_and_names_itself(held: Realm) -> None:
    held.regulator.close(LLM, 30.0, reason="429", now_us=START_US)

    assert held.refusal(START_US, service="llm") == "service:llm closed 30"
    assert held.refusal(after(29.5), service="llm", loop="a") == "service:llm closed 0.5"
    assert held.refusal(after(29.5), service="git") == ""
    assert held.refusal(after(30), service="llm") == ""


def test_a_refusal_of_a_closed_scope_charges_nothing(held: Realm) -> None:
    held.regulator.close("endpoint:llm/chat", 30.0, now_us=START_US)

    assert held.refusal(START_US, service="llm", endpoint="chat") == "endpoint:llm/chat closed 30"
    assert held.limiter.usage(LLM, now_us=START_US)[0].remaining == 600


def test_a_closure_is_never_shortened_and_closures_do_not_add_up(held: Realm) -> None:
    held.regulator.close(LLM, 30.0, reason="first", now_us=START_US)
    for _ in range(5):
        held.regulator.close(LLM, 10.0, reason="later", now_us=after(1))

    assert held.regulator.state(LLM, now_us=after(1)) == RegulatorState(LLM, closed_for_s=29.0, reason="first")
    assert held.regulator.close(LLM, 30.0, reason="last", now_us=after(2)).closed_for_s == 30.0


def test_what_opens_admits_as_a_ramp(held: Realm) -> None:
    held.regulator.close(LLM, 1.0, now_us=START_US)
    admitted_us: list[int] = []
    at_us = after(1)
    while at_us < after(6):
        try:
            held.limiter.acquire(service="llm", now_us=at_us)
            admitted_us.append(at_us - after(1))
        except RateLimited as refused:
            if refused.decision.limit != "reopening":
                break
            at_us += round(refused.decision.retry_after * SECOND_US)

    assert len(admitted_us) == 600
    assert admitted_us == [ramp_us(number) for number in range(1, 601)]


def test_a_scope_is_alone_with_its_limits_when_its_ramp_is_over(held: Realm) -> None:
    held.regulator.close(LLM, 1.0, now_us=START_US)

    assert held.regulator.state(LLM, now_us=after(5.9)) == RegulatorState(LLM, is_reopening=True)
    assert [held.refusal(after(6), service="llm") for _ in range(600)] == [""] * 600
    assert held.regulator.state(LLM, now_us=after(6)) == RegulatorState(LLM)


def test_weight_counts_in_the_ramp(held: Realm) -> None:
    held.regulator.close(LLM, 1.0, now_us=START_US)
    held.limiter.acquire(service="llm", weight=7, now_us=after(1))

    assert held.refusal(after(1), service="llm") == "service:llm reopening 1.5"


def test_a_closure_in_the_middle_of_a_ramp_starts_another_one(held: Realm) -> None:
    held.regulator.close(LLM, 1.0, now_us=START_US)
    for seconds in (1.0, 1.5, 1.75):
        assert held.refusal(after(seconds), service="llm") == ""
    held.regulator.close(LLM, 1.0, now_us=after(2))

    assert held.refusal(after(3), service="llm") == ""
    assert held.refusal(after(3), service="llm") == "service:llm reopening 0.5"


def test_a_paused_scope_refuses_until_it_is_resumed(held: Realm) -> None:
    assert str(held.regulator.pause(LLM, by="ops", now_us=START_US)) == "service:llm: paused by ops"

    assert held.refusal(after(86_400 * 365), service="llm") == "service:llm paused 1"
    assert held.refusal(START_US, service="git") == ""
    assert held.regulator.resume(LLM, now_us=after(5)).is_open
    assert held.refusal(after(5), service="llm") == ""


def test_whoever_pauses_again_is_remembered(held: Realm) -> None:
    held.regulator.pause(LLM, by="ops", now_us=START_US)
    held.regulator.pause(LLM, by="night shift", now_us=after(1))

    assert held.regulator.states(now_us=after(1)) == (RegulatorState(LLM, paused_by="night shift"),)


def test_resume_lifts_the_pause_first_and_then_the_closure(held: Realm) -> None:
    held.regulator.close(LLM, 60.0, now_us=START_US)
    held.regulator.pause(LLM, now_us=START_US)

    assert held.refusal(START_US, service="llm") == "service:llm paused 1"
    assert str(held.regulator.resume(LLM, now_us=START_US)) == "service:llm: closed for 60.0 s more"
    assert held.regulator.resume(LLM, now_us=START_US) == RegulatorState(LLM)
    assert held.refusal(START_US, service="llm") == ""


@pytest.mark.parametrize("scope", ["global", "service:git", "endpoint:git/push", "loop_type:planner", "loop:planner-7"])
def test_every_scope_can_be_held_with_or_without_limits(held: Realm, scope: str) -> None:
    held.regulator.pause(scope, now_us=START_US)

    names = {"service": "git", "endpoint": "push", "loop_type": "planner", "loop": "planner-7"}
    assert held.refusal(START_US, **names) == f"{scope} paused 1"


def test_a_limiter_of_one_scope_is_held_by_its_name(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "github", requests_per_minute=60, realm=realm)
    Regulator(redis_client, Keys(realm)).close("github", 12.0, now_us=START_US)

    assert not limiter.try_consume(now_us=START_US)
    decision = limiter.peek(now_us=START_US)
    assert (decision.allowed, decision.binding, decision.retry_after) == (False, "github closed", 12.0)
    assert limiter.available_tokens(now_us=START_US) == 60
    with pytest.raises(RateLimited, match=r"^github closed: retry after 12\.000 s$"):
        limiter.check_and_consume(now_us=START_US)


def test_the_one_that_opens_last_binds(held: Realm) -> None:
    held.regulator.close(LLM, 10.0, now_us=START_US)
    held.regulator.close("loop:a", 20.0, now_us=START_US)

    assert held.refusal(START_US, service="llm", loop="a") == "loop:a closed 20"


def test_states_are_listed_by_name_while_they_hold(held: Realm) -> None:
    held.regulator.close(LLM, 10.0, reason="429", now_us=START_US)
    held.regulator.pause("loop:a", now_us=START_US)

    assert [str(state) for state in held.regulator.states(now_us=after(4))] == [
        "loop:a: paused",
        "service:llm: closed for 6.0 s more (429)",
    ]
    assert [str(state) for state in held.regulator.states(now_us=after(12))] == ["loop:a: paused", "service:llm: reopening"]
    assert [state.scope for state in held.regulator.states(now_us=after(16))] == ["loop:a"]


def test_what_is_of_no_use_expires_and_a_pause_does_not(redis_client: Redis, realm: str) -> None:
    keys, regulator = Keys(realm), Regulator(redis_client, Keys(realm))
    regulator.close(LLM, 10.0)

    assert 14_000 < ttl_ms(redis_client, keys("regulators")) <= 15_001
    assert 14_000 < ttl_ms(redis_client, keys(f"regulator:{LLM}")) <= 15_001
    regulator.pause(LLM)
    assert ttl_ms(redis_client, keys("regulators")) == ttl_ms(redis_client, keys(f"regulator:{LLM}")) == -1
    regulator.resume(LLM)
    assert 10_000 < ttl_ms(redis_client, keys("regulators")) <= 15_001
    regulator.resume(LLM)
    assert [key for key in keys_of(redis_client, keys("*")) if "regulator" in key] == []


def test_a_realm_in_which_nothing_is_held_asks_one_thing_more(held: Realm, redis_client: Redis) -> None:
    held.refusal(START_US, service="llm")
    redis_client.config_resetstat()
    held.refusal(START_US, service="llm", endpoint="chat", loop="a", loop_type="b")
    stats = redis_client.info("commandstats")

    assert stats["cmdstat_exists"]["calls"] == 1, "whether anything is held, or anybody waits in line"
    assert "cmdstat_hgetall" not in stats


def test_many_who_close_at_once_close_once(held: Realm) -> None:
    def close(seconds: float) -> float:
        return held.regulator.close(LLM, seconds, now_us=START_US).closed_for_s

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(close, [10.0, 11.0, 12.0] * 16))

    assert max(seen) == 12.0
    assert held.regulator.state(LLM, now_us=START_US).closed_for_s == 12.0


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, 4e7])
def test_a_closure_of_no_possible_length_is_refused(held: Realm, seconds: float) -> None:
    with pytest.raises(
        ValueError, match=f"^seconds: {seconds!r} is not allowed; use a positive number of seconds, a year at most$"
    ):
        held.regulator.close(LLM, seconds)


@pytest.mark.parametrize("scope", ["", "a\nb", "x" * 201, "loop:*"])
def test_a_scope_that_cannot_be_is_refused(held: Realm, scope: str) -> None:
    with pytest.raises(InvalidScope):
        held.regulator.pause(scope)
