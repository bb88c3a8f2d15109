"""Whose call a request is."""

from __future__ import annotations

from typing import Any

import pytest

from turgor.limits.http_call import CallNaming


def naming(**options: Any) -> CallNaming[str]:
    given: dict[str, Any] = {"service": "api", "endpoint": "", "loop_type": "", "loop": "", "tokens": 0, "timeout": None}
    return CallNaming[str](**given | options)


def test_functions_are_asked_and_the_options_of_a_request_win() -> None:
    calls = naming(endpoint=str.lower, loop=str.title, tokens=len)

    assert calls.call_of("CHAT", {"loop": "planner-7", "weight": 2}) == {
        "service": "api",
        "endpoint": "chat",
        "loop_type": "",
        "loop": "planner-7",
        "tokens": 4,
        "weight": 2,
    }


@pytest.mark.parametrize(("timeout", "asked"), [(None, {}), (0, {}), (2.5, {"timeout": 2.5})])
def test_only_who_may_wait_asks_to(timeout: float | None, asked: dict[str, float]) -> None:
    call = naming(timeout=timeout).call_of("CHAT")

    assert call is not None
    assert {name: value for name, value in call.items() if name == "timeout"} == asked


def test_a_request_may_wait_where_others_may_not() -> None:
    assert (naming().call_of("CHAT", {"timeout": 1}) or {})["timeout"] == 1


def test_a_request_of_no_service_has_no_call() -> None:
    assert naming(service={"CHAT": None}.get).call_of("CHAT") is None
