"""How long a service that refused a call is left alone."""

from __future__ import annotations

import math
from datetime import timedelta

from .limit import SECOND_US

# With no word from the service. Short, because what follows is a ramp: one call a second finds out.
DEFAULT_RETRY_AFTER_S = 1.0
# A service that names a longer time is asked again after a day: a mistake of its own must not close it for good.
LONGEST_RETRY_AFTER_S = 86_400.0


def retry_after_s(retry_after: float | timedelta | None) -> float:
    """Seconds to leave a service alone that asked for `retry_after`: a number of seconds, a timedelta or None.

    Nothing, and what is not above 0, becomes the default; what is too long becomes a day.

    Raises
    ------
    TypeError
        It is something else.

    >>> retry_after_s(timedelta(minutes=2)), retry_after_s(None), retry_after_s(0)
    (120.0, 1.0, 1.0)
    """
    if isinstance(retry_after, timedelta):
        retry_after = retry_after.total_seconds()
    if retry_after is None:
        return DEFAULT_RETRY_AFTER_S
    # Users are not all checked by a type checker, and a header's text is near at hand.
    if isinstance(retry_after, bool) or not isinstance(retry_after, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"retry_after: {retry_after!r} is not allowed; use seconds, a timedelta or None")
    if math.isnan(retry_after) or retry_after < 1 / SECOND_US:
        return DEFAULT_RETRY_AFTER_S
    return float(min(retry_after, LONGEST_RETRY_AFTER_S))
