"""An amendment changes what it names, and says what is wrong in the words of `limits.toml`."""

from __future__ import annotations

from typing import Any

import pytest

from turgor.limits import ConfigError, InvalidScope, LimitsConfig, UnknownService
from turgor.limits.amendment import amended

BEFORE: dict[str, Any] = {
    "global": {"max_in_flight": 9},
    "services": {
        "api": {
            "requests_per_minute": 60,
            "burst_capacity": 5,
            "token_limits": {"per_minute": 1000},
            "endpoints": {"chat": {"max_in_flight": 1}, "*": {"requests_per_hour": 7, "max_in_flight": 2}},
        }
    },
    "loops": {"*": {"requests_per_minute": 10}},
    "tasks": {"proj.x": "api/chat"},
}


def after(scope: str, settings: dict[str, Any] | None) -> dict[str, Any]:
    return amended(LimitsConfig.load(BEFORE), scope, settings).to_dict()


def problems(scope: str, settings: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        after(scope, settings)
    return list(error.value.problems)


def service(**changes: Any) -> dict[str, Any]:
    changed = BEFORE["services"]["api"] | changes
    return BEFORE | {"services": {"api": {key: value for key, value in changed.items() if value is not None}}}


def test_what_is_not_named_stays() -> None:
    assert after("service:api", {"requests_per_minute": 30}) == service(requests_per_minute=30)
    assert after("global", {"requests_per_second": 3}) == BEFORE | {"global": {"max_in_flight": 9, "requests_per_second": 3}}


def test_nothing_takes_a_limit_away() -> None:
    assert after("service:api", {"burst_capacity": None}) == service(burst_capacity=None)
    assert after("service:api", {"requests_per_day": None}) == BEFORE


def test_dots_lead_into_a_table() -> None:
    assert after("service:api", {"token_limits.per_minute": 5, "token_limits.per_day": 9}) == service(
        token_limits={"per_minute": 5, "per_day": 9}
    )
    assert after("service:api", {"token_limits.per_minute": None}) == service(token_limits=None)
    assert after("global", {"token_limits.per_day": 9})["global"] == {"max_in_flight": 9, "token_limits": {"per_day": 9}}


def test_a_scope_that_is_named_for_the_first_time_begins_with_its_template() -> None:
    """Else `loop:a max_in_flight=1` would take the template's requests_per_minute from that loop."""
    assert after("loop:a", {"max_in_flight": 1})["loops"]["a"] == {"requests_per_minute": 10, "max_in_flight": 1}
    assert after("endpoint:api/embed", {"max_in_flight": 3})["services"]["api"]["endpoints"]["embed"] == {
        "requests_per_hour": 7,
        "max_in_flight": 3,
    }
    assert after("loop_type:planner", {"max_in_flight": 1})["loop_types"] == {"planner": {"max_in_flight": 1}}
    assert after("service:git", {"max_in_flight": 1})["services"]["git"] == {"max_in_flight": 1}


def test_a_loop_may_be_exempt_from_its_template() -> None:
    assert after("loop:a", {"requests_per_minute": None})["loops"]["a"] == {}


def test_a_scope_that_is_not_named_any_more_is_gone() -> None:
    assert after("loop:*", None) == {key: value for key, value in BEFORE.items() if key != "loops"}
    assert after("loop:unheard-of", None) == BEFORE


def test_mistakes_are_in_the_words_of_the_file() -> None:
    assert problems("service:api", {"request_per_minute": 5, "max_in_flite": None, "token_limits.per_minit": 1}) == [
        "services.api.request_per_minute: unknown key; did you mean 'requests_per_minute'?",
        "services.api.max_in_flite: unknown key; did you mean 'max_in_flight'?",
        "services.api.token_limits.per_minit: unknown key; did you mean 'per_minute'?",
    ]
    assert problems("service:api", {"requests_per_minute": 4}) == [
        "services.api.burst_capacity: 5 is above requests_per_minute = 4, so the burst could never be spent; use at most 4"
    ]
    assert problems("loop:a", {"max_in_flight": "many"}) == [
        "loops.a.max_in_flight: 'many' is not allowed; use a whole number of at least 1"
    ]
    assert problems("global", {"max_in_flight.x": 1}) == ["global.max_in_flight.x: 'max_in_flight' is no table; give it a value"]
    (problem,) = problems("service:api", {"endpoints": {}})
    assert problem == (
        "services.api.endpoints: this is no setting; amend the scope of the endpoint itself, 'endpoint:service/endpoint'"
    )


def test_the_scopes_name_is_checked() -> None:
    with pytest.raises(UnknownService, match=r"unknown service 'apy'\. Did you mean 'api'"):
        after("endpoint:apy/chat", {"max_in_flight": 1})
    for scope in ("loop", "loop:", "services:api", "endpoint:api", ""):
        with pytest.raises(InvalidScope, match="use 'global', 'service:…'"):
            after(scope, {"max_in_flight": 1})
    assert problems("service:a b", {"max_in_flight": 1}) == [
        "services.\"a b\": this name is not possible; use no spaces, '/', ':' or '*'"
    ]


def test_a_service_that_tasks_are_mapped_to_stays() -> None:
    with pytest.raises(ConfigError, match=r'tasks."proj.x": service \'api\' is not defined'):
        after("service:api", None)
