"""A header parser makes an observation of the headers of a response. It never raises: what it cannot read it counts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

from ..observation import Observation, Quota
from .anthropic_tokens import read_tokens
from .family import HeaderFamily
from .header_tally import HeaderTally
from .http_date import parse_http_date
from .ratelimit_field import POLICY, SERVICE_LIMIT, read_fields
from .reset import milliseconds, seconds_until
from .triple import ANTHROPIC_PARTS, ANTHROPIC_WHOLE, PLAIN_TRIPLES

Headers: TypeAlias = Mapping[Any, Any] | Iterable[tuple[Any, Any]]

RETRY_AFTER, RETRY_AFTER_MS, RESET_AFTER = "retry-after", "retry-after-ms", "x-ratelimit-reset-after"
TOO_MANY_REQUESTS, OVERLOADED, FORBIDDEN, UNAVAILABLE = 429, 529, 403, 503

TRIPLES = (*PLAIN_TRIPLES, ANTHROPIC_WHOLE, *ANTHROPIC_PARTS)
_FAMILIES = {
    RETRY_AFTER: HeaderFamily.RETRY_AFTER,
    RETRY_AFTER_MS: HeaderFamily.RETRY_AFTER,
    RESET_AFTER: HeaderFamily.X_RATELIMIT,
    POLICY: HeaderFamily.STRUCTURED,
    SERVICE_LIMIT: HeaderFamily.STRUCTURED,
    **{name: triple.family for triple in TRIPLES for name in triple.names},
}
NAMES = frozenset((*_FAMILIES, "age", "date"))
# Longer than any of these headers has a reason to be.
_MAX_LENGTH = 4_096
_AGED = re.compile("0*[1-9][0-9]*")


class HeaderParser:
    """Reads what services say of their limits. Threads may share it."""

    def __init__(self) -> None:
        self._tally = HeaderTally()
        self.statistics = self._tally.statistics

    def parse(self, headers: Headers, status: int | None = None, *, now_s: float | None = None) -> Observation:
        """What the headers of one response say.

        Parameters
        ----------
        headers:
            A mapping or pairs; names in any case, names and values as text or bytes, a name any number of times.
        status:
            The response's status code, if it is known: without it nothing counts as a refusal.
        now_s:
            Seconds since the epoch; the clock of this process by default. Where the response has a `Date`, that
            counts instead: a service's resets are times of the service's clock.
        """
        seen = self._collect(headers)
        # "they SHOULD be ignored on responses that come from cache" (section 7.3 of the IETF's draft)
        cached = _AGED.fullmatch(seen.get("age", "")) is not None
        self._tally.count_response(cached=cached)
        retry_after_s: float | None = None
        quotas: tuple[Quota, ...] = ()
        if not seen.keys().isdisjoint(_FAMILIES):
            clock_s = time.time() if now_s is None else now_s
            sent_s = None if cached else parse_http_date(seen.get("date", ""), clock_s)
            moment_s = clock_s if sent_s is None else sent_s
            retry_after_s = self._read_retry_after(seen, moment_s)
            quotas = () if cached else tuple(dict.fromkeys(self._read_quotas(seen, moment_s)))
        return Observation(quotas, retry_after_s, _is_throttled(status, retry_after_s, quotas))

    def _collect(self, headers: Headers) -> dict[str, str]:
        """The headers that matter, by lower-case name; a repeated one joined by commas, as RFC 9110 has it."""
        seen: dict[str, str] = {}
        pairs = cast("Iterable[tuple[object, object]]", headers.items() if isinstance(headers, Mapping) else headers)
        for name, value in pairs:
            lower = _text(name).lower()
            if lower not in NAMES:
                continue
            text = _text(value).strip()
            seen[lower] = f"{seen[lower]}, {text}" if lower in seen else text
        for name in [name for name, value in seen.items() if len(value) > _MAX_LENGTH]:
            del seen[name]
            if name in _FAMILIES:
                self._tally.count_header(_FAMILIES[name], understood=False)
        return seen

    def _read_retry_after(self, seen: Mapping[str, str], now_s: float) -> float | None:
        """Milliseconds where they are given, because the seconds beside them are those, rounded."""
        exact = [milliseconds(each.strip()) for each in seen.get(RETRY_AFTER_MS, "").split(",")]
        whole = _read_waits(seen.get(RETRY_AFTER, ""), now_s)
        for name, waits in ((RETRY_AFTER_MS, exact), (RETRY_AFTER, whole)):
            if name in seen:
                self._tally.count_header(HeaderFamily.RETRY_AFTER, understood=None not in waits)
        for waits in (exact, whole):
            known = [wait for wait in waits if wait is not None]
            if len(known) == len(waits):
                return max(known)
        return None

    def _read_quotas(self, seen: dict[str, str], now_s: float) -> Iterator[Quota]:
        if RESET_AFTER in seen:
            # Discord's: the same moment as x-ratelimit-reset, without a clock.
            understood = seconds_until(seen[RESET_AFTER], now_s) is not None
            self._tally.count_header(HeaderFamily.X_RATELIMIT, understood=understood)
            if understood:
                seen["x-ratelimit-reset"] = seen[RESET_AFTER]
        fields = read_fields(seen, now_s, self._tally)
        yield from fields
        for triple in PLAIN_TRIPLES:
            quotas = triple.read(seen, now_s, self._tally)
            # The three headers repeat one item of the field, and cannot say what it counts.
            if not fields or triple.family is not HeaderFamily.RATELIMIT:
                yield from quotas
        yield from read_tokens(seen, now_s, self._tally)


def _read_waits(value: str, now_s: float) -> list[float | None]:
    only = seconds_until(value, now_s)
    return [seconds_until(each.strip(), now_s) for each in value.split(",")] if only is None else [only]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return value.decode("latin-1")
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(each) for each in cast("Sequence[object]", value))
    return str(value) if isinstance(value, (int, float)) else ""


def _is_throttled(status: int | None, retry_after_s: float | None, quotas: tuple[Quota, ...]) -> bool:
    """429; Anthropic's 529; 503 with a time to return; and GitHub's 403, if it says when or that nothing is left."""
    if status in (TOO_MANY_REQUESTS, OVERLOADED):
        return True
    if status == FORBIDDEN:
        return retry_after_s is not None or any(quota.remaining == 0 for quota in quotas)
    return status == UNAVAILABLE and retry_after_s is not None


_PARSER = HeaderParser()
parse_headers = _PARSER.parse
statistics = _PARSER.statistics
