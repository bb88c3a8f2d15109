"""A tally counts the headers that were understood, and those that were not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ..fork_safe_lock import ForkSafeLock
from .family import HeaderFamily


@dataclass(frozen=True, slots=True)
class HeaderStatistics:
    """What a parser has read, in this process, since it was made.

    Parameters
    ----------
    responses:
        Responses that were looked at, whether or not they had such headers.
    cached:
        Responses whose quotas were not read because a cache had kept them.
    parsed, ignored:
        Headers by family that were understood, and that were malformed. Every family has its number.
    """

    responses: int
    cached: int
    parsed: Mapping[HeaderFamily, int]
    ignored: Mapping[HeaderFamily, int]


class HeaderTally:
    """Counts headers. Threads may share it."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._responses = self._cached = 0
        self._parsed = Counter[HeaderFamily]()
        self._ignored = Counter[HeaderFamily]()

    def count_response(self, *, cached: bool) -> None:
        with self._lock:
            self._responses += 1
            self._cached += cached

    def count_header(self, family: HeaderFamily, *, understood: bool) -> None:
        with self._lock:
            (self._parsed if understood else self._ignored)[family] += 1

    def statistics(self) -> HeaderStatistics:
        with self._lock:
            parsed = {family: self._parsed[family] for family in HeaderFamily}
            ignored = {family: self._ignored[family] for family in HeaderFamily}
            return HeaderStatistics(self._responses, self._cached, parsed, ignored)
