"""What a call of an LLM has cost, as the body of its response says. Ready to be a hook's `tokens_of`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast


class HasJson(Protocol):
    """A response of httpx or requests."""

    def json(self) -> Any: ...


def openai_tokens(response: HasJson) -> int | None:
    """`usage.total_tokens` of a response of OpenAI, or of a service that speaks like it; None where there is none."""
    return _count(_usage(response).get("total_tokens"))


def anthropic_tokens(response: HasJson) -> int | None:
    """What a response of Anthropic counts against its limits; None where there is none.

    `usage.input_tokens`, `cache_creation_input_tokens` and `output_tokens`. What is read from the cache does not
    count for most models.
    """
    usage = _usage(response)
    sides = [_count(usage.get(side)) for side in ("input_tokens", "output_tokens")]
    known = [side for side in sides if side is not None]
    return sum(known) + (_count(usage.get("cache_creation_input_tokens")) or 0) if len(known) == len(sides) else None


def _usage(response: HasJson) -> Mapping[str, Any]:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        # A stream of events, an error page, or a body that nests too deeply.
        return {}
    usage: object = cast("Mapping[str, Any]", body).get("usage") if isinstance(body, dict) else None
    return cast("Mapping[str, Any]", usage) if isinstance(usage, dict) else {}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
