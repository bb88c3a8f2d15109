"""Rate tokens: reserve an estimate, settle the actual, free the slot."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from redis import Redis

from limit_calls import START_US, OwnServer, scripts_run
from turgor.limits import HierarchicalLimiter, Outcome, ServerUnreachable, Unit
from turgor.limits.limit import SECOND_US

LIMITS: dict[str, Any] = {
    "services": {"llm": {"max_in_flight": 2, "requests_per_minute": 50, "token_limits": {"per_minute": 1_000}}},
    "loops": {"*": {"token_limits": {"per_minute": 600}}},
}


@pytest.fixture
def limiter(redis_client: Redis, realm: str) -> HierarchicalLimiter:
    return HierarchicalLimiter(redis_client, LIMITS, realm=realm)


def left(limiter: HierarchicalLimiter, scope: str = "service:llm", *, now_us: int = START_US) -> dict[str, int]:
    return {usage.limit.id: usage.remaining for usage in limiter.usage(scope, now_us=now_us)}


def tokens_left(limiter: HierarchicalLimiter, *, now_us: int = START_US) -> tuple[int, int]:
    """Of the service, and of the loop."""
    return left(limiter, now_us=now_us)["tokens/1m"], left(limiter, "loop:a", now_us=now_us)["tokens/1m"]


def test_the_estimate_is_charged_at_once(limiter: HierarchicalLimiter) -> None:
    token = limiter.acquire(service="llm", loop="a", tokens=400, now_us=START_US)

    assert tokens_left(limiter) == (600, 200)
    assert (token.tokens, token.outcome, token.decision.allowed) == (400, Outcome.OPEN, True)


def test_less_than_the_estimate_comes_back_at_every_level(limiter: HierarchicalLimiter) -> None:
    token = limiter.acquire(service="llm", loop="a", tokens=400, now_us=START_US)

    token.settle(150, now_us=START_US + SECOND_US)

    assert tokens_left(limiter) == (850, 450)
    assert token.tokens == 150


def test_more_than_the_estimate_is_charged_even_if_it_overdraws(limiter: HierarchicalLimiter) -> None:
    token = limiter.acquire(service="llm", loop="a", tokens=400, now_us=START_US)

    token.settle(900, now_us=START_US + SECOND_US)

    assert tokens_left(limiter, now_us=START_US + SECOND_US) == (100, 0)
    limiter.acquire(service="llm", loop="a", tokens=1, now_us=START_US + 60 * SECOND_US)  # the estimate has left, 500 stay
    assert limiter.try_acquire(service="llm", loop="a", tokens=100, now_us=START_US + 60 * SECOND_US) is None


def test_settling_again_corrects_again(limiter: HierarchicalLimiter) -> None:
    token = limiter.acquire(service="llm", loop="a", tokens=400, now_us=START_US)

    for actual in (100, 100, 300, 300, 50):
        token.settle(actual, now_us=START_US)
        assert tokens_left(limiter) == (1_000 - actual, 600 - actual)


def test_what_comes_back_after_a_period_was_back_already(limiter: HierarchicalLimiter) -> None:
    """A refund into the window of others would admit their tokens twice."""
    late = limiter.acquire(service="llm", loop="a", tokens=400, now_us=START_US)
    limiter.acquire(service="llm", loop="a", tokens=600, now_us=START_US + 60 * SECOND_US).ok()

    late.settle(0, now_us=START_US + 61 * SECOND_US)

    assert tokens_left(limiter, now_us=START_US + 61 * SECOND_US) == (400, 0)


def test_leaving_the_block_frees_the_slot_and_keeps_the_charge(limiter: HierarchicalLimiter) -> None:
    with limiter.acquire(service="llm", loop="a", tokens=400, now_us=START_US) as token:
        assert left(limiter)["in_flight"] == 1

    assert left(limiter) == {"requests/1m": 49, "in_flight": 2, "tokens/1m": 600}
    assert token.outcome is Outcome.OK


def test_an_exception_frees_the_slot_and_keeps_the_charge(limiter: HierarchicalLimiter) -> None:
    """Nobody can tell whether the service counted the tokens of a call that ended in an exception."""
    with pytest.raises(ZeroDivisionError), limiter.acquire(service="llm", loop="a", tokens=400, now_us=START_US) as token:
        raise ZeroDivisionError

    assert left(limiter) == {"requests/1m": 49, "in_flight": 2, "tokens/1m": 600}
    assert token.outcome is Outcome.FAILED


def test_a_call_that_failed_gives_its_tokens_back(limiter: HierarchicalLimiter) -> None:
    with limiter.acquire(service="llm", loop="a", tokens=400, now_us=START_US) as token:
        token.failed(now_us=START_US)

    assert left(limiter) == {"requests/1m": 49, "in_flight": 2, "tokens/1m": 1_000}
    assert (token.tokens, token.outcome) == (0, Outcome.FAILED)


def test_a_call_that_failed_keeps_the_tokens_that_are_known_to_be_spent(limiter: HierarchicalLimiter) -> None:
    with limiter.acquire(service="llm", loop="a", tokens=400, now_us=START_US) as token:
        token.settle(250, now_us=START_US)
        token.failed(now_us=START_US)

    assert left(limiter) == {"requests/1m": 49, "in_flight": 2, "tokens/1m": 750}


def test_only_the_first_end_counts(limiter: HierarchicalLimiter) -> None:
    token = limiter.acquire(service="llm", loop="a", tokens=400, now_us=START_US)
    token.ok(now_us=START_US)
    other = limiter.acquire(service="llm", loop="a", tokens=100, now_us=START_US)

    token.failed(now_us=START_US)
    token.ok(now_us=START_US)

    assert token.outcome is Outcome.OK
    assert left(limiter) == {"requests/1m": 48, "in_flight": 1, "tokens/1m": 500}
    other.ok(now_us=START_US)


def test_the_cost_may_become_known_after_the_end(limiter: HierarchicalLimiter) -> None:
    token = limiter.acquire(service="llm", loop="a", tokens=400, now_us=START_US)
    token.failed(now_us=START_US)

    token.settle(30, now_us=START_US)

    assert tokens_left(limiter) == (970, 570)


@pytest.mark.parametrize("actual", [-1, 1.5, True, None])
def test_a_cost_that_is_no_number_of_tokens_is_refused_by_name(limiter: HierarchicalLimiter, actual: Any) -> None:
    token = limiter.acquire(service="llm", tokens=400, now_us=START_US)

    with pytest.raises(ValueError, match=r"^actual_tokens: .* at least 0$"):
        token.settle(actual)

    assert token.tokens == 400


def test_a_slot_whose_holder_is_never_heard_of_again_lapses(redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, LIMITS, realm=realm, lease_s=30.0)
    for _ in range(2):
        limiter.acquire(service="llm", now_us=START_US)

    assert limiter.try_acquire(service="llm", now_us=START_US + 30 * SECOND_US - 1) is None
    assert limiter.try_acquire(service="llm", now_us=START_US + 30 * SECOND_US) is not None


def test_a_call_without_slots_or_tokens_ends_without_a_round_trip(redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, {"services": {"git": {"requests_per_minute": 50}}}, realm=realm)
    with limiter.acquire(service="git", tokens=5) as token:
        before = scripts_run(redis_client)
        token.settle(9)
        token.ok()

    assert scripts_run(redis_client) == before
    assert token.tokens == 9


def test_losing_the_server_at_the_end_loses_no_result(
    own_server: OwnServer, realm: str, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = HierarchicalLimiter(own_server.url, LIMITS, realm=realm)
    with caplog.at_level(logging.WARNING), limiter.acquire(service="llm", tokens=5) as token:
        own_server.stop()

    assert "a slot is not freed and lapses with its lease: no Redis at" in caplog.text
    assert token.outcome is Outcome.OPEN
    with pytest.raises(ServerUnreachable):
        token.ok()


def test_a_token_shows_what_it_stands_for(limiter: HierarchicalLimiter) -> None:
    token = limiter.acquire(service="llm", tokens=400, now_us=START_US)

    assert repr(token) == "<RateToken open, 400 tokens, service:llm in_flight>"
    assert limiter.usage("service:llm", now_us=START_US)[2].limit.unit is Unit.TOKENS
