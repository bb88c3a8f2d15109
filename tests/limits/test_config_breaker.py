"""`[services.X.breaker]` and `[services.X.adaptive]`: a switch or a table, off unless stated."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from turgor.limits import LimitsConfig
from turgor.limits.errors import ConfigError
from turgor.limits.limit import SECOND_US

BREAKER = (0.5, 20, 30 * SECOND_US, 10 * SECOND_US, 300 * SECOND_US, 3, 30 * SECOND_US)
ADAPTIVE = (0.1, 0.7, 300 * SECOND_US, 5 * SECOND_US)


def service(lines: str) -> LimitsConfig:
    return LimitsConfig.load(tomllib.loads(f"[services.x]\nrequests_per_minute = 60\n{lines}"))


@pytest.mark.parametrize(
    ("lines", "governors"),
    [
        ("", {}),
        ("breaker = false\nadaptive = false", {}),
        ("breaker = true", {"breaker": BREAKER}),
        ("breaker = {}", {"breaker": BREAKER}),
        ("[services.x.breaker]", {"breaker": BREAKER}),
        ("adaptive = true", {"adaptive": ADAPTIVE}),
        ("breaker = true\nadaptive = true", {"breaker": BREAKER, "adaptive": ADAPTIVE}),
        (
            "breaker = { failure_ratio = 1, minimum_calls = 5, window = 60, cool_down = '1m', max_cool_down = '1m', probes = 1 }",
            {"breaker": (1.0, 5, *[60 * SECOND_US] * 3, 1, 30 * SECOND_US)},
        ),
        (
            "adaptive = { floor = 0.25, decrease = 0.5, recovery = '1m', reaction = '250ms' }",
            {"adaptive": (0.25, 0.5, 60 * SECOND_US, 250_000)},
        ),
    ],
)
def test_a_switch_or_a_table_says_the_parameters(lines: str, governors: dict[str, tuple[float, ...]]) -> None:
    config = service(lines)

    assert config.services["x"].governors() == governors
    assert config.definitions() == service("").definitions(), "they are no limits"
    assert LimitsConfig.from_json(config.to_json()) == config


def test_a_switch_and_the_empty_table_are_the_same_config() -> None:
    assert service("breaker = true").digest == service("breaker = {}").digest
    assert service("breaker = false").digest == service("").digest


SHARE = "use a share above 0, at most 1"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("breaker = 5", "breaker: 5 is not allowed; use true, or a table such as { failure_ratio = 0.5 }"),
        ("adaptive = 'on'", "adaptive: 'on' is not allowed; use true, or a table such as { floor = 0.1 }"),
        ("breaker.failure_ratio = 0", f"breaker.failure_ratio: 0 is not allowed; {SHARE}"),
        ("breaker.failure_ratio = 1.01", f"breaker.failure_ratio: 1.01 is not allowed; {SHARE}"),
        ("breaker.failure_ratio = nan", f"breaker.failure_ratio: nan is not allowed; {SHARE}"),
        ("breaker.failure_ratio = true", f"breaker.failure_ratio: true is not allowed; {SHARE}"),
        ("breaker.failure_ratio = '50%'", f"breaker.failure_ratio: '50%' is not allowed; {SHARE}"),
        ("breaker.minimum_calls = 0", "breaker.minimum_calls: 0 is not allowed; use a whole number from 1 to 1000000000"),
        ("breaker.probes = 1001", "breaker.probes: 1001 is not allowed; use a whole number from 1 to 1000"),
        (
            "breaker.window = 'soon'",
            "breaker.window: 'soon' is not a duration; use one such as '10s' or '1m30s', or a number of seconds",
        ),
        (
            "breaker.cool_down = '1h'",
            "breaker.max_cool_down: '5m' is shorter than cool_down = '1h'; use at least '1h'",
        ),
        ("breaker.probe = 1", "breaker.probe: unknown key; did you mean 'probes'?"),
        ("adaptive.flor = 1", "adaptive.flor: unknown key; did you mean 'floor'?"),
        ("adaptive.floor = -1", f"adaptive.floor: -1 is not allowed; {SHARE}"),
        ("adaptive.decrease = 1.0", "adaptive.decrease: 1.0 is not allowed; use a share above 0 and below 1"),
    ],
)
def test_a_mistake_is_one_line(lines: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        service(lines)
    assert caught.value.problems == (f"services.x.{problem}",)


def test_an_endpoint_has_no_breaker_of_its_own() -> None:
    with pytest.raises(ConfigError, match=r"services\.x\.endpoints\.y\.breaker: unknown key"):
        service("endpoints.y.breaker = true")


@pytest.mark.parametrize("others", [{}, {"breaker": True}, {"endpoints": {"y": {"requests_per_minute": 1}}}])
def test_an_adaptive_share_needs_a_limit_of_the_service_to_scale(others: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        LimitsConfig.load({"services": {"x": {"adaptive": True, **others}}})
    assert caught.value.problems == (
        "services.x.adaptive: there is no limit to scale; add one such as requests_per_minute, or remove adaptive",
    )


@pytest.mark.parametrize("rule", ["requests_per_minute = -1", "token_limits = { per_minute = 0 }"])
def test_a_wrong_limit_is_one_mistake_not_two(rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LimitsConfig.load(tomllib.loads(f"[services.x]\nadaptive = true\n{rule}"))
    assert len(caught.value.problems) == 1
