"""When a service opens again, in each of the ways that services write it.

    30, 0.5                           seconds from now
    1764072000, 1764072000.123        seconds since the epoch
    1764072000123                     milliseconds since the epoch
    6m0s, 20ms, 1h2m3.5s              a duration as Go prints it
    2026-11-25T12:00:00Z              RFC 3339
    Wed, 25 Nov 2026 12:00:00 GMT     HTTP's dates

No form can be taken for another. A bare number is told by its size: below 10⁹ it counts seconds from now (10⁹ s
are 31 years), up to 10¹¹ seconds since the epoch (until the year 5138), up to 10¹⁴ milliseconds since the epoch
(from 1973 to 5138). What is larger means nothing.

The past is 0, and nothing is further away than `MAX_WAIT_S`: a header by mistake or malice, or a quota of a month,
must not close a service for longer than a day without asking it again. One call then learns the rest.
"""

from __future__ import annotations

import re
from datetime import datetime

from .http_date import parse_http_date

MAX_WAIT_S = 86_400.0

_FIRST_EPOCH_S = 1e9
_FIRST_EPOCH_MS = 1e11
_TOO_LARGE = 1e14
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20}")
_SIZES_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_PART = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,15})?)(ms|us|ns|d|h|m|s)")
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,12})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def seconds_until(text: str, now_s: float) -> float | None:
    """Seconds from now, from 0 to `MAX_WAIT_S`; None where the text says no time.

    Parameters
    ----------
    text:
        One of the forms above.
    now_s:
        Seconds since the epoch.

    >>> seconds_until("6m0s", 0.0), seconds_until("1764072030", 1764072000.0)
    (360.0, 30.0)
    """
    if _NUMBER.fullmatch(text):
        return _from_number(float(text), now_s)
    if "0" <= text[:1] <= "9":
        duration_s = _parse_duration(text)
        if duration_s is not None:
            return _bounded(duration_s)
        moment_s = _parse_rfc_3339(text)
    else:
        moment_s = parse_http_date(text, now_s)
    return None if moment_s is None else _bounded(moment_s - now_s)


def milliseconds(text: str) -> float | None:
    """`retry-after-ms` in seconds, from 0 to `MAX_WAIT_S`; None where the text is no number.

    >>> milliseconds("1250")
    1.25
    """
    return _bounded(float(text) / 1000) if _NUMBER.fullmatch(text) else None


def _from_number(number: float, now_s: float) -> float | None:
    if number < _FIRST_EPOCH_S:
        return _bounded(number)
    if number < _FIRST_EPOCH_MS:
        return _bounded(number - now_s)
    return _bounded(number / 1000 - now_s) if number < _TOO_LARGE else None


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), MAX_WAIT_S)


def _parse_duration(text: str) -> float | None:
    parts = _PART.findall(text)
    if "".join(count + unit for count, unit in parts) != text:
        return None
    return sum((float(count) * _SIZES_S[unit] for count, unit in parts), start=0.0)


def _parse_rfc_3339(text: str) -> float | None:
    if not _RFC_3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        return None
