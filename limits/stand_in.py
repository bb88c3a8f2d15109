"""A stand-in decides in the server's place while that is away: it lets calls pass, or keeps a share of their limits.

It counts in this process alone, on the monotonic clock. What it admits is not charged to the server later, and what
the server had counted before is not known to it: `processes x share` of a limit is what may be added in an outage.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakValueDictionary

from .decision import Decision, Source
from .fork_safe_lock import ForkSafeLock
from .limit import SECOND_US, Limit, LimitKind, Unit
from .outage import PROBE_S
from .sliding_window import SlidingWindow, WindowState
from .token_bucket import BucketState, TokenBucket

if TYPE_CHECKING:
    from .account import Account

_MOST_STATES = 4_096
_KEPT = (LimitKind.WINDOW, LimitKind.BUCKET, LimitKind.IN_FLIGHT)


class StandInReply(tuple[int, ...]):
    """What acquire.lua would have said, and who said it instead."""

    __slots__ = ()
    source: ClassVar[Source]


class _ShareReply(StandInReply):
    __slots__ = ()
    source = Source.LOCAL


class _OpenReply(StandInReply):
    __slots__ = ()
    source = Source.OPEN


LET_PASS = _OpenReply((1, 0, 0, 0, 0, 0))
"""The answer of `open`."""


def share_of(limit: Limit, share: float) -> Limit:
    """The part of a limit that a process keeps by itself: at least one unit, and a bucket refills as much slower.

    >>> str(share_of(Limit(LimitKind.BUCKET, 50, period_us=60_000_000, refill=600), 0.1))
    'bursts of 5 requests, 600 per 10m'
    """
    return replace(limit, capacity=max(1, math.floor(limit.capacity * share)), period_us=_slower(limit, share))


def _slower(limit: Limit, share: float) -> int:
    return math.ceil(limit.period_us / share) if limit.kind is LimitKind.BUCKET else limit.period_us


class StandIn:
    """The limits of one realm, as one process keeps a share of them. Threads may share it."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._states: dict[tuple[str, str], Any] = {}

    def charge(
        self,
        account: Account,
        share: float,
        requests: int,
        tokens: int,
        holder: str,
        *,
        lease_us: int = 600 * SECOND_US,
        now_us: int | None = None,
    ) -> StandInReply:
        """Charge the share of every limit, or none.

        Parameters
        ----------
        account:
            The limits. A kind that has no meaning in one process is left out, and so is a shadow.
        share:
            The part of each limit, in (0, 1].
        requests, tokens:
            Units. What costs more than the share is refused, until the server is back.
        holder:
            Who takes the slots.
        lease_us:
            Microseconds that a slot lasts.
        now_us:
            Microseconds; the monotonic clock decides otherwise.
        """
        now_us = time.monotonic_ns() // 1_000 if now_us is None else now_us
        cost = {Unit.REQUESTS: requests, Unit.TOKENS: tokens}
        found: list[tuple[int, Decision]] = []
        after: dict[tuple[str, str], Any] = {}
        with self._lock:
            for position, (scope, limit) in enumerate(account.limits, start=1):
                units, key = cost[limit.unit], (scope, limit.id)
                if units and limit.kind in _KEPT and not limit.shadow:
                    part = share_of(limit, share)
                    decision, after[key] = _decide(part, self._states.get(key), units, now_us, (holder, now_us + lease_us))
                    found.append((position, decision))
            position, binding = _binding(found)
            if binding.allowed:
                self._keep(after, now_us)
        return _reply(position, binding, now_us)

    def free(self, account: Account, holder: str) -> None:
        """The work of `holder` has ended."""
        with self._lock:
            for scope, limit in account.limits:
                if limit.kind is LimitKind.IN_FLIGHT:
                    self._states.get((scope, limit.id), {}).pop(holder, None)

    def _keep(self, states: dict[tuple[str, str], Any], now_us: int) -> None:
        if len(self._states) >= _MOST_STATES:
            self._states = {key: state for key, state in self._states.items() if _is_of_use(state, now_us)}
        self._states |= states


_stand_ins: WeakValueDictionary[tuple[str, str], StandIn] = WeakValueDictionary()


def stand_in_of(url: str, prefix: str) -> StandIn:
    """The stand-in of this process for a realm of a server: its limiters spend one share together."""
    return _stand_ins.setdefault((url, prefix), StandIn())


def _decide(limit: Limit, state: Any, units: int, now_us: int, slot: tuple[str, int]) -> tuple[Decision, Any]:
    match limit.kind:
        case LimitKind.WINDOW:
            return SlidingWindow(limit.capacity, limit.period_us).decide(state or WindowState(), units, now_us)
        case LimitKind.BUCKET:
            bucket = TokenBucket(limit.capacity, limit.period_us, limit.refill)
            return bucket.decide(state or BucketState(), units, now_us)
        case _:
            return _take_slot(limit.capacity, state or {}, now_us, slot)


def _take_slot(capacity: int, slots: dict[str, int], now_us: int, slot: tuple[str, int]) -> tuple[Decision, dict[str, int]]:
    taken = {holder: lapses_us for holder, lapses_us in slots.items() if lapses_us > now_us}
    if len(taken) >= capacity:
        retry_after = (sorted(taken.values())[len(taken) - capacity] - now_us) / SECOND_US
        return Decision(allowed=False, retry_after=retry_after, capacity=capacity), slots
    taken |= [slot]
    return Decision(allowed=True, remaining=capacity - len(taken), capacity=capacity), taken


def _is_of_use(state: Any, now_us: int) -> bool:
    # A state of which nothing is left says the same as none. A window's age is not known without its limit: a day is the longest.
    match state:
        case BucketState():
            return state.arrival_us > now_us
        case WindowState():
            return bool(state.counted) and state.counted[-1].time_us > now_us - 86_400 * SECOND_US
        case _:
            return any(lapses_us > now_us for lapses_us in state.values())


def _binding(found: list[tuple[int, Decision]]) -> tuple[int, Decision]:
    """The limit that opens last, or else the one with the smallest share left; and its position."""
    refusals = [each for each in found if not each[1].allowed]
    if refusals:
        return max(refusals, key=lambda each: each[1].retry_after)
    return min(found, key=lambda each: each[1].remaining / each[1].capacity, default=(0, Decision(allowed=True)))


def _reply(position: int, binding: Decision, now_us: int) -> StandInReply:
    # What never fits into the share may fit when the server is back.
    retry_after = PROBE_S if math.isinf(binding.retry_after) else binding.retry_after
    retry_after_us, reset_after_us = round(retry_after * SECOND_US), round(binding.reset_after * SECOND_US)
    return _ShareReply((int(binding.allowed), position, binding.remaining, retry_after_us, reset_after_us, now_us))
