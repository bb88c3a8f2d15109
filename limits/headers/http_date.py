"""HTTP's dates (RFC 9110, section 5.6.7), in all three forms.

    Sun, 06 Nov 1994 08:49:37 GMT       the one to send
    Sunday, 06-Nov-94 08:49:37 GMT      RFC 850, obsolete
    Sun Nov  6 08:49:37 1994            C's asctime, obsolete

`strptime` would read them in the language of the process, and `http.cookiejar.http2time` by a clock of its own.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",
        rf"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        rf"{_DAY} {_MONTH} (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)


def parse_http_date(text: str, now_s: float) -> float | None:
    """Seconds since the epoch; None where the text is no date of HTTP.

    A year of two digits that seems more than 50 years ahead of `now_s` is the last one with these digits, as the
    RFC rules. The day of the week must be one, and is not compared with the date.

    >>> parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT", 0.0)
    784111777.0
    """
    for form in _FORMS:
        if found := form.fullmatch(text):
            return _moment(found, now_s)
    return None


def _moment(found: re.Match[str], now_s: float) -> float | None:
    year = int(found["year"])
    if len(found["year"]) == 2:
        this_year = 1970 + int(now_s // (365.2425 * 86_400))
        year += this_year - this_year % 100
        if year > this_year + 50:
            year -= 100
    # RFC 9110 allows the 60th second; datetime has none.
    second = min(int(found["second"]), 59)
    try:
        moment = datetime(
            year,
            1 + _MONTHS.index(found["month"]),
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            second,
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return moment.timestamp()
