"""Durations as people write them: `"500ms"`, `"10s"`, `"1m30s"`, a number of seconds, a `timedelta`.

`format_duration` in `limit.py` writes them; whatever it writes, `parse_duration` reads.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

from .limit import SECOND_US, format_duration
from .quotation import quote

MIN_DURATION_US = 1_000
MAX_DURATION_US = 366 * 86_400 * SECOND_US

_SIZES_US = {"d": 86_400 * SECOND_US, "h": 3_600 * SECOND_US, "m": 60 * SECOND_US, "s": SECOND_US, "ms": 1_000, "us": 1}
_DURATION = re.compile("".join(rf"(?:([0-9]{{1,18}}(?:\.[0-9]{{1,9}})?){suffix})?" for suffix in _SIZES_US))


def parse_duration(duration: object) -> int:
    """A duration in microseconds.

    Parameters
    ----------
    duration:
        Text such as `"10s"` or `"1m30s"` (units d, h, m, s, ms, us, each once, in this order),
        a number of seconds, or a `timedelta`. From 1 ms to 366 days.

    Raises
    ------
    ValueError
        The message quotes the value and gives the remedy.

    >>> parse_duration("1m30s"), parse_duration(0.25)
    (90000000, 250000)
    """
    match duration:
        case timedelta():
            duration_us = duration / timedelta(microseconds=1)
        case str():
            duration_us = _parse_text(duration)
        case int() | float() if not isinstance(duration, bool):
            duration_us = _seconds_to_us(duration)
        case _:
            raise _not_a_duration(duration)
    # Also false for NaN, which no comparison holds for.
    if not MIN_DURATION_US <= duration_us <= MAX_DURATION_US:
        shortest, longest = format_duration(MIN_DURATION_US), format_duration(MAX_DURATION_US)
        raise ValueError(f"{quote(duration)} is not allowed; use a duration from {shortest} to {longest}")
    return round(duration_us)


def _parse_text(text: str) -> Decimal:
    parts = _DURATION.fullmatch(text)
    if not text or parts is None:
        raise _not_a_duration(text)
    return sum(
        (Decimal(count) * size_us for count, size_us in zip(parts.groups(), _SIZES_US.values(), strict=True) if count),
        start=Decimal(0),
    )


def _seconds_to_us(seconds: float) -> float:
    # An integer too large for a float would raise OverflowError in the conversion; integers stay integers.
    return seconds * SECOND_US


def _not_a_duration(value: object) -> ValueError:
    return ValueError(f"{quote(value)} is not a duration; use one such as '10s' or '1m30s', or a number of seconds")
