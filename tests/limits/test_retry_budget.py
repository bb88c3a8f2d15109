"""Retry budgets: numbers worked out by hand, and the script beside the pure one, step by step."""

from __future__ import annotations

import struct
import tomllib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limit_calls import START_US, Calls, new_scope
from turgor.limits import LimitsConfig
from turgor.limits.errors import ConfigError
from turgor.limits.limit import SECOND_US
from turgor.limits.registry import LimitsRegistry
from turgor.limits.retry_budget import RetryBudget, RetryState
from turgor.limits.retry_ledger import SPEND_RETRY, RetryGrant, RetryLedger
from turgor.limits.service_health import HEALTH, health_in

TENTH = RetryBudget(ratio=0.1, window_us=60 * SECOND_US, minimum=3)


def after(budget: RetryBudget, first_attempts: int, retries: int, *, at_s: float = 0.0) -> RetryState:
    state: RetryState = ()
    for _ in range(first_attempts):
        state = budget.count_first(state, round(at_s * SECOND_US))
    for _ in range(retries):
        _, state = budget.try_retry(state, round(at_s * SECOND_US))
    return state


@pytest.mark.parametrize(
    ("first_attempts", "allowed"), [(0, 3), (1, 3), (30, 3), (39, 3), (40, 4), (49, 4), (50, 5), (1_000, 100)]
)
def test_a_tenth_of_the_first_attempts_or_the_minimum_may_be_retries(first_attempts: int, allowed: int) -> None:
    state = after(TENTH, first_attempts, 2 * first_attempts + 10)
    assert TENTH.allowed(state, 0) == allowed
    assert TENTH.retries(state, 0) == allowed


@pytest.mark.parametrize(
    ("now_s", "first_attempts", "retries"),
    [(0, 100, 10), (59.9, 100, 10), (60, 0, 0), (3_600, 0, 0)],
)
def test_what_is_older_than_the_window_counts_no_more(now_s: float, first_attempts: int, retries: int) -> None:
    state = after(TENTH, 100, 10)
    now_us = round(now_s * SECOND_US)
    assert (TENTH.first_attempts(state, now_us), TENTH.retries(state, now_us)) == (first_attempts, retries)


def test_a_tenth_of_the_window_leaves_as_a_whole_and_no_more_than_eleven_are_kept() -> None:
    state: RetryState = ()
    for second in range(1_000):
        state = TENTH.count_first(state, second * SECOND_US)
        assert len(state) <= 11
        assert min(second + 1, 54) < TENTH.first_attempts(state, second * SECOND_US) + 1 <= 61


def test_a_clock_that_goes_back_counts_in_the_newest_cell() -> None:
    state = TENTH.count_first(TENTH.count_first((), 30 * SECOND_US), 10 * SECOND_US)
    assert [(cell.start_us, cell.first_attempts) for cell in state] == [(30 * SECOND_US, 2)]


@st.composite
def runs(draw: st.DrawFn) -> list[tuple[int, bool]]:
    elapsed = st.sampled_from([0, 0, 1, 99_999, 100_000, 250_000, 999_999, 1_000_000, 5_000_000])
    return draw(st.lists(st.tuples(elapsed, st.booleans()), max_size=60))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=runs(), ratio=st.sampled_from([0.1, 0.29, 0.5, 1.0, 2.0]), minimum=st.integers(1, 4))
def test_the_script_grants_as_the_pure_one(calls: Calls, steps: list[tuple[int, bool]], ratio: float, minimum: int) -> None:
    """First attempts are counted by the scheduler's finish; here the pure state is stored for the script, as it packs it."""
    service = new_scope()
    config = LimitsConfig.load({"services": {service: {"retry_budget": {"ratio": ratio, "window": "1s", "minimum": minimum}}}})
    LimitsRegistry(calls.client, calls.keys).publish(config)
    table = config.services[service]
    assert table.retry_budget is not None
    budget, ledger = table.retry_budget.budget(), RetryLedger(calls.client, calls.keys)
    state, now_us = RetryState(), START_US
    for elapsed_us, is_retry in steps:
        now_us += elapsed_us
        if is_retry:
            granted, state = budget.try_retry(state, now_us)
            grant = ledger.spend(service, now_us=now_us)
            assert grant == RetryGrant(granted, budget.retries(state, now_us), budget.allowed(state, now_us))
        else:
            state = budget.count_first(state, now_us)
            calls.client.set(calls.keys(f"retries:{service}"), b"".join(map(pack, budget.current(state, now_us))))
        use = health_in(HEALTH(calls.client, calls.keys.prefix, now_us, service), service, table).retry_use
        assert use is not None
        assert (use.first_attempts, use.retries) == (budget.first_attempts(state, now_us), budget.retries(state, now_us))


def pack(cell: Any) -> bytes:
    return struct.pack("<ddd", cell.start_us, cell.first_attempts, cell.retries)


def test_a_service_without_a_budget_grants_everything_and_stores_nothing(calls: Calls) -> None:
    service = new_scope()
    LimitsRegistry(calls.client, calls.keys).publish(LimitsConfig.load({"services": {service: {"breaker": True}}}))
    assert RetryLedger(calls.client, calls.keys).spend(service) == RetryGrant(granted=True)
    assert not calls.client.exists(calls.keys(f"retries:{service}"))


def test_a_budget_that_is_out_of_use_is_forgotten(calls: Calls) -> None:
    service = new_scope()
    LimitsRegistry(calls.client, calls.keys).publish(LimitsConfig.load({"services": {service: {"retry_budget": 0.1}}}))
    SPEND_RETRY(calls.client, calls.keys.prefix, "", service)
    assert 50_000 < calls.client.pttl(calls.keys(f"retries:{service}")) <= 60_001


DEFAULT = (0.1, 60 * SECOND_US, 10)


@pytest.mark.parametrize(
    ("lines", "parameters"),
    [
        ("", None),
        ("retry_budget = false", None),
        ("retry_budget = true", DEFAULT),
        ("retry_budget = {}", DEFAULT),
        ("retry_budget = 0.1", DEFAULT),
        ("retry_budget = 1", (1.0, 60 * SECOND_US, 10)),
        ("retry_budget = { ratio = 0.2, window = '10s', minimum = 1 }", (0.2, 10 * SECOND_US, 1)),
    ],
)
def test_a_number_or_a_table_says_the_parameters(lines: str, parameters: tuple[float, ...] | None) -> None:
    config = LimitsConfig.load(tomllib.loads(f"[services.x]\n{lines}"))
    assert config.services["x"].governors().get("retry_budget") == parameters
    assert config.has_retry_budget("x") is (parameters is not None)
    assert LimitsConfig.from_json(config.to_json()) == config


RATIO = "is not allowed; use retries for each first attempt, such as 0.1, at most 100"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("retry_budget = 0", f"retry_budget.ratio: 0 {RATIO}"),
        ("retry_budget = nan", f"retry_budget.ratio: nan {RATIO}"),
        ("retry_budget.ratio = true", f"retry_budget.ratio: true {RATIO}"),
        (
            "retry_budget = '10%'",
            "retry_budget: '10%' is not allowed; use a share such as 0.1, or a table such as { ratio = 0.1 }",
        ),
        ("retry_budget.rato = 1", "retry_budget.rato: unknown key; did you mean 'ratio'?"),
        ("retry_budget.minimum = 0", "retry_budget.minimum: 0 is not allowed; use a whole number from 1 to 1000000000"),
        ("retry_budgt = 0.1", "retry_budgt: unknown key; did you mean 'retry_budget'?"),
        ("endpoints.y.retry_budget = 0.1", None),
    ],
)
def test_a_mistake_is_one_line(lines: str, problem: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        LimitsConfig.load(tomllib.loads(f"[services.x]\n{lines}"))
    assert len(caught.value.problems) == 1
    assert problem is None or caught.value.problems == (f"services.x.{problem}",)
