"""What a response says of its own cost: bodies as services send them, objects as their libraries give them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from turgor.limits import tokens_of

OPENAI_CHAT: dict[str, Any] = {
    "prompt_tokens": 1_117,
    "completion_tokens": 46,
    "total_tokens": 1_163,
    "prompt_tokens_details": {"cached_tokens": 1_024},
}
OPENAI_RESPONSES: dict[str, Any] = {
    "input_tokens": 36,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 123,
}
ANTHROPIC: dict[str, Any] = {
    "input_tokens": 21,
    "cache_creation_input_tokens": 188,
    "cache_read_input_tokens": 1_000,
    "output_tokens": 393,
}


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        pytest.param(OPENAI_CHAT, 1_163, id="OpenAI, chat completions: cached tokens are part of the total"),
        pytest.param(OPENAI_RESPONSES, 123, id="OpenAI, responses"),
        pytest.param(ANTHROPIC, 1_602, id="Anthropic: what the cache gave is not part of the input"),
        pytest.param({"input_tokens": 21, "output_tokens": 9, "cache_read_input_tokens": None}, 30, id="no cache"),
        pytest.param({"prompt_tokens": 8, "total_tokens": None}, 8, id="embeddings of a service that gives no total"),
        pytest.param({"total_tokens": 0}, 0, id="nothing was spent"),
    ],
)
def test_the_usage_of_known_services_is_read(usage: dict[str, Any], tokens: int) -> None:
    body = {"id": "1", "usage": usage}

    assert tokens_of(body) == tokens
    assert tokens_of(SimpleNamespace(usage=SimpleNamespace(**usage))) == tokens
    assert tokens_of(SimpleNamespace(usage=usage)) == tokens


@pytest.mark.parametrize(
    "response",
    [
        None,
        "text",
        {},
        {"usage": None},
        {"usage": "many"},
        {"usage": {}},
        {"usage": {"total_tokens": -1}},
        {"usage": {"total_tokens": 1.5}},
        {"usage": {"total_tokens": True}},
        {"usage": {"total_tokens": "12"}},
        {"usage": {"cache_read_input_tokens": 5}},
        SimpleNamespace(),
    ],
)
def test_a_response_that_states_no_usage_gives_none_and_never_raises(response: object) -> None:
    assert tokens_of(response) is None
