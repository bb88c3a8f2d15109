"""Anthropic counts the tokens that go in and those that come out apart, and then the whole; Turgor counts whole calls.

The whole (`anthropic-ratelimit-tokens-*`) is what Turgor's token limits can be compared with. A part that still has
room says nothing about the whole: 8,000 tokens left to come out do not forbid a call that sends 20,000 in. A part
that is used up ends every call. So:

    a part with nothing left     is a quota with nothing left
    the whole                    is a quota as it stands
    both parts, without a whole  are one quota: the sums, until the later reset
"""

from __future__ import annotations

from collections.abc import Mapping

from ..limit import Unit
from ..observation import Quota
from .header_tally import HeaderTally
from .triple import ANTHROPIC_PARTS, ANTHROPIC_WHOLE


def read_tokens(seen: Mapping[str, str], now_s: float, tally: HeaderTally) -> list[Quota]:
    """The quotas of Anthropic's token headers; the parameters are those of `Triple.read`."""
    whole = ANTHROPIC_WHOLE.read(seen, now_s, tally)
    sides = [part.read(seen, now_s, tally) for part in ANTHROPIC_PARTS]
    spent = [quota for side in sides for quota in side if quota.remaining == 0]
    if whole or spent or not all(sides):
        return [*whole, *spent]
    parts = [side[0] for side in sides]
    return [
        Quota(
            Unit.TOKENS,
            _sum([part.limit for part in parts]),
            _sum([part.remaining for part in parts]),
            max((part.reset_s for part in parts if part.reset_s is not None), default=None),
        )
    ]


def _sum(units: list[int | None]) -> int | None:
    known = [each for each in units if each is not None]
    return sum(known) if len(known) == len(units) else None
