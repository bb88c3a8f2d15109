"""What a call has cost, read off bodies that say it, and off bodies that say something else."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from turgor.limits.response_usage import HasJson, anthropic_tokens, openai_tokens


def body(content: Any) -> HasJson:
    return httpx.Response(200, content=content) if isinstance(content, bytes) else httpx.Response(200, json=content)


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}}, 21),  # chat completions
        ({"usage": {"input_tokens": 36, "output_tokens": 87, "total_tokens": 123}}, 123),  # responses
        ({"usage": {"prompt_tokens": 8, "total_tokens": 8}}, 8),  # embeddings
        ({"usage": {"total_tokens": "21"}}, None),
        ({"usage": {"total_tokens": -1}}, None),
        ({"usage": {"total_tokens": True}}, None),
        ({"usage": None}, None),
        ({"error": {"message": "no"}}, None),
        ([1, 2], None),
        (b"", None),
        (b"data: {}\n\n", None),
        (b"[" * 200_000, None),
        (b"\xff\xfe", None),
    ],
)
def test_openai_says_the_total(content: Any, tokens: int | None) -> None:
    assert openai_tokens(body(content)) == tokens


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"input_tokens": 100, "output_tokens": 23}, 123),
        ({"input_tokens": 100, "cache_creation_input_tokens": 50, "cache_read_input_tokens": 900, "output_tokens": 23}, 173),
        ({"input_tokens": 100, "cache_creation_input_tokens": None, "output_tokens": 23}, 123),
        ({"input_tokens": 100}, None),
        ({}, None),
    ],
)
def test_anthropic_says_what_goes_in_and_what_comes_out(usage: dict[str, Any], tokens: int | None) -> None:
    assert anthropic_tokens(body({"usage": usage})) == tokens
