"""What a call may reserve: the least that its token limits hold, and the estimate that its narrowest scope states."""

from __future__ import annotations

from typing import Any

import pytest

from turgor.limits import ConfigError, Limiter, LimitsConfig, TaskScopes
from turgor.limits.token_budget import CACHE_SIZE, DEFAULT_ESTIMATE, TokenBudget, TokenBudgets

CONFIG = LimitsConfig.load(
    {
        "global": {"token_limits": {"per_day": 9_000_000}},
        "services": {
            "llm": {
                "token_limits": {"per_minute": 50_000, "per_hour": 900_000, "estimate": 2_000},
                "endpoints": {"embed": {"token_limits": {"estimate": 300}}, "*": {"token_limits": {"per_second": 4_000}}},
            },
            "git": {"requests_per_minute": 9},
        },
        "loop_types": {"planner": {"token_limits": {"per_minute": 700}}},
        "loops": {"*": {"token_limits": {"per_minute": 6_000, "estimate": 500}}, "free": {}},
    }
)


@pytest.mark.parametrize(
    ("scopes", "budget"),
    [
        pytest.param(TaskScopes(), TokenBudget(9_000_000, DEFAULT_ESTIMATE), id="global alone, which states no estimate"),
        pytest.param(TaskScopes("git"), TokenBudget(9_000_000, DEFAULT_ESTIMATE), id="a service without tokens"),
        pytest.param(TaskScopes("llm"), TokenBudget(50_000, 2_000), id="the least of a service's limits"),
        pytest.param(TaskScopes("llm", "embed"), TokenBudget(50_000, 300), id="an endpoint's own estimate"),
        pytest.param(TaskScopes("llm", "chat"), TokenBudget(4_000, 2_000), id="an endpoint by its template"),
        pytest.param(TaskScopes("llm", loop="a"), TokenBudget(6_000, 500), id="a loop by its template"),
        pytest.param(TaskScopes("llm", loop="free"), TokenBudget(50_000, 2_000), id="a loop that is named has no template"),
        pytest.param(TaskScopes("llm", "embed", "planner"), TokenBudget(700, 300), id="all of them"),
        pytest.param(TaskScopes("new"), TokenBudget(9_000_000, DEFAULT_ESTIMATE), id="a service that is not named"),
    ],
)
def test_the_budget_of_a_call(scopes: TaskScopes, budget: TokenBudget) -> None:
    assert TokenBudgets(CONFIG).of_call(scopes) == budget


def test_a_call_that_no_token_limit_concerns_has_none() -> None:
    config = LimitsConfig.load({"services": {"git": {"requests_per_minute": 9, "token_limits": {"estimate": 5}}}})

    assert TokenBudgets(config).of_call(TaskScopes("git")) is None


@pytest.mark.parametrize(
    ("budget", "learned", "reserved"),
    [
        (TokenBudget(10_000, 1_000), None, 1_000),
        (TokenBudget(10_000, 1_000), 4_321, 4_321),
        (TokenBudget(10_000, 1_000), 0, 0),
        (TokenBudget(100, 1_000), None, 100),
        (TokenBudget(100, 1_000), 663, 100),
    ],
)
def test_no_estimate_is_above_the_limit(budget: TokenBudget, learned: int | None, reserved: int) -> None:
    assert budget.reserve(learned) == reserved


def test_what_is_remembered_is_bounded() -> None:
    budgets = TokenBudgets(CONFIG)
    for number in range(CACHE_SIZE + 5):
        budgets.of_call(TaskScopes("llm", loop=f"l{number}"))

    assert len(budgets) == 5


@pytest.mark.parametrize(
    ("token_limits", "problem"),
    [
        (
            {"per_minute": 100, "per_hour": 5_000, "estimate": 101},
            "services.llm.token_limits.estimate: 101 is above per_minute = 100, so no task could reserve it; use at most 100",
        ),
        (
            {"windows": [{"limit": 7, "per": "9s"}], "estimate": 8},
            "services.llm.token_limits.estimate: 8 is above windows[0].limit = 7, so no task could reserve it; use at most 7",
        ),
        ({"estimate": 0}, "services.llm.token_limits.estimate: 0 is not allowed; use a whole number of at least 1"),
        ({"estimat": 5}, "services.llm.token_limits.estimat: unknown key; did you mean 'estimate'?"),
    ],
)
def test_an_estimate_that_cannot_be_is_refused_in_one_line(token_limits: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LimitsConfig.load({"services": {"llm": {"token_limits": token_limits}}})

    assert caught.value.problems == (problem,)


def test_an_estimate_survives_storage_and_limits_nothing() -> None:
    config = LimitsConfig.from_json(CONFIG.to_json())

    assert config == CONFIG
    assert config.definitions()["endpoint:llm/embed"] == ()


def test_a_limiter_of_its_own_takes_the_words_of_the_file(server_url: str) -> None:
    limiter = Limiter(server_url, "llm", token_limits={"per_minute": 100, "estimate": 10})

    assert [limit.id for limit in limiter.limits] == ["tokens/1m"]
    limiter.close()
