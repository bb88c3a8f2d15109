"""A triple is three headers that say one thing: how much a service allows, how much is left, until when.

Repeated headers, and lists, pair up: two limits, two rests and two resets are two quotas. What does not pair up is
read as the tightest of all. A limit with parameters (`100;w=60`) beside one without is a policy of the IETF's
drafts 0 to 5, which no rest belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..limit import Unit
from ..observation import Quota
from .family import HeaderFamily
from .header_tally import HeaderTally
from .reset import seconds_until

# RFC 9651 ends integers here; Reddit counts in decimals.
_UNITS = re.compile(r"([0-9]{1,15})(?:\.[0-9]{1,15})?")


@dataclass(frozen=True, slots=True)
class Triple:
    """The names of three headers, in lower case, and what they count."""

    family: HeaderFamily
    unit: Unit
    limit: str
    remaining: str
    reset: str

    @property
    def names(self) -> tuple[str, str, str]:
        return self.limit, self.remaining, self.reset

    def read(self, seen: Mapping[str, str], now_s: float, tally: HeaderTally) -> list[Quota]:
        """The quotas that the headers name.

        Parameters
        ----------
        seen:
            Values by lower-case name; those of a repeated header joined by commas.
        now_s:
            Seconds since the epoch.
        tally:
            Counts each header, understood or not.
        """
        if seen.keys().isdisjoint(self.names):
            return []

        def column(name: str, parse: Callable[[str], list[float] | None]) -> list[float]:
            if name not in seen:
                return []
            values = parse(seen[name])
            tally.count_header(self.family, understood=values is not None)
            return values or []

        limits = column(self.limit, _parse_limits)
        rests = column(self.remaining, _parse_units)
        resets = column(self.reset, lambda value: _parse_resets(value, now_s))
        if not limits and not rests:
            return []
        rows = max(len(limits), len(rests), len(resets))
        if any(len(values) not in (0, rows) for values in (limits, rests, resets)):
            limits, rests, resets, rows = limits[:1], sorted(rests)[:1], sorted(resets)[-1:], 1
        return [
            Quota(
                self.unit,
                int(limits[row]) if limits else None,
                int(rests[row]) if rests else None,
                resets[row] if resets else None,
            )
            for row in range(rows)
        ]


def _parse_limits(value: str) -> list[float] | None:
    members = [member.partition(";") for member in value.split(",")]
    plain = [limit for limit, parameters, _ in members if not parameters]
    return _parse_units(",".join(plain or [limit for limit, _, _ in members]))


def _parse_units(value: str) -> list[float] | None:
    found = [_UNITS.fullmatch(member.strip()) for member in value.split(",")]
    units = [float(member[1]) for member in found if member]
    return units if len(units) == len(found) else None


def _parse_resets(value: str, now_s: float) -> list[float] | None:
    # HTTP's own dates have a comma.
    if (only := seconds_until(value, now_s)) is not None:
        return [only]
    found = [seconds_until(member.strip(), now_s) for member in value.split(",")]
    resets = [member for member in found if member is not None]
    return resets if len(resets) == len(found) else None


def _plain(family: HeaderFamily, prefix: str) -> Triple:
    return Triple(family, Unit.REQUESTS, f"{prefix}-limit", f"{prefix}-remaining", f"{prefix}-reset")


def _suffixed(counted: str, unit: Unit) -> Triple:
    """OpenAI's, and with a period at the end Cerebras' and Mistral's."""
    prefix = "x-ratelimit"
    return Triple(HeaderFamily.OPENAI, unit, *(f"{prefix}-{what}-{counted}" for what in ("limit", "remaining", "reset")))


def _anthropic(counted: str, unit: Unit) -> Triple:
    prefix = f"anthropic-ratelimit-{counted}"
    return Triple(HeaderFamily.ANTHROPIC, unit, f"{prefix}-limit", f"{prefix}-remaining", f"{prefix}-reset")


PLAIN_TRIPLES = (
    _plain(HeaderFamily.X_RATELIMIT, "x-ratelimit"),
    _plain(HeaderFamily.X_RATELIMIT, "x-rate-limit"),
    _plain(HeaderFamily.RATELIMIT, "ratelimit"),
    *(
        _suffixed(f"{counted}{period}", unit)
        for counted, unit in (("requests", Unit.REQUESTS), ("req", Unit.REQUESTS), ("tokens", Unit.TOKENS))
        for period in ("", "-minute", "-hour", "-day")
    ),
    _anthropic("requests", Unit.REQUESTS),
)
ANTHROPIC_WHOLE = _anthropic("tokens", Unit.TOKENS)
ANTHROPIC_PARTS = (_anthropic("input-tokens", Unit.TOKENS), _anthropic("output-tokens", Unit.TOKENS))
