"""Response usage is what the answer of a language model says of its own cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

_TOTAL = "total_tokens"
_INPUT = ("input_tokens", "prompt_tokens")
_OUTPUT = ("output_tokens", "completion_tokens")
_CACHE = ("cache_creation_input_tokens", "cache_read_input_tokens")


def tokens_of(response: object) -> int | None:
    """The tokens that a call has cost, as its response states them; None if it states none.

    Reads `usage` of a body as services send it (a dict) or as their libraries give it (an object). OpenAI's
    `total_tokens` is taken as it is. Anthropic's `input_tokens` and `output_tokens` are added up, and what was
    written to the cache or read from it with them, because `input_tokens` leaves that out. A service may count
    what is read from its cache for less: then settle your own number.

    >>> tokens_of({"usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}})
    21
    >>> tokens_of({"usage": {"input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 300}})
    330
    """
    usage = _read(response, "usage")
    total = _count(usage, _TOTAL)
    if total is not None:
        return total
    spent, made = _first(usage, _INPUT), _first(usage, _OUTPUT)
    if spent is None and made is None:
        return None
    return (spent or 0) + (made or 0) + sum(_count(usage, field) or 0 for field in _CACHE)


def _first(usage: object, fields: tuple[str, ...]) -> int | None:
    return next((count for field in fields if (count := _count(usage, field)) is not None), None)


def _count(usage: object, field: str) -> int | None:
    count = _read(usage, field)
    return count if type(count) is int and count >= 0 else None


def _read(source: object, field: str) -> object:
    if isinstance(source, Mapping):
        return cast("Mapping[object, object]", source).get(field)
    return getattr(source, field, None)
