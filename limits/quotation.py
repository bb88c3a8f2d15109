"""How messages quote what a user wrote: always on one line, never longer than needed."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_LENGTH = 60
_MAX_BITS = 200
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def quote(value: object) -> str:
    """`value` as a message shows it: text in quotes, a table or a list only by its kind.

    >>> quote("10 s"), quote(True), quote({"a": 1})
    ("'10 s'", 'true', 'a table')
    """
    match value:
        case None:
            quoted = "nothing"
        case bool():
            quoted = str(value).lower()
        case str():
            quoted = repr(_shorten(value))
        case int() if value.bit_length() > _MAX_BITS:
            # Python refuses to print integers of more than 4300 digits, and nobody reads 60.
            quoted = "a number of this size"
        case int() | float():
            quoted = repr(value)
        case dict():
            quoted = "a table"
        case list() | tuple():
            quoted = "a list"
        case datetime() | date() | time():
            quoted = value.isoformat()
        case _:
            quoted = f"a Python {type(value).__name__}"
    return quoted


def quote_path(keys: Iterable[object]) -> str:
    """The way to a key, as TOML writes it; the position in a list stands in brackets.

    >>> quote_path(["tasks", "proj.x"]), quote_path(["global", "windows", 0, "per"])
    ('tasks."proj.x"', 'global.windows[0].per')
    """
    path = ""
    for key in keys:
        if isinstance(key, int) and path:
            path += f"[{quote(key)}]"
        else:
            path += f".{_quote_key(key)}" if path else _quote_key(key)
    return path


def one_line(text: str) -> str:
    """`text` with line breaks, control characters and lone surrogates written as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, or None."""
    # A matcher takes quadratic time, so a name that cannot be a slip of the pen is not compared in full.
    alike = {_fold(candidate): candidate for candidate in sorted(known, reverse=True)}
    close = get_close_matches(_fold(name[:_MAX_LENGTH]), alike, n=1)
    return alike[close[0]] if close else None


def _fold(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def _quote_key(key: object) -> str:
    if not isinstance(key, str):
        return quote(key)
    if _BARE_KEY.fullmatch(key):
        return _shorten(key)
    escaped = _shorten(key).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{one_line(escaped)}"'


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 3] + "..."
