"""A token bucket, as the generic cell rate algorithm (GCRA). Pure: state and now in, decision and state out.

Redis decides (`lua/parts/bucket.lua`); this is what it must decide, and the tests hold it to that.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace

from .decision import Decision
from .limit import SECOND_US

_SAME_RATE = 1e-7


@dataclass(frozen=True, slots=True)
class BucketState:
    """What is stored of a bucket. The default is a full one, which is not stored at all.

    Parameters
    ----------
    arrival_us:
        The theoretical arrival time: when the bucket will be full, in microseconds.
    interval_us:
        How long a unit took to come back when that was written, in microseconds; true to one part in 10^7, because
        4 bytes of it are stored.
    """

    arrival_us: int = 0
    interval_us: float = 0.0


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """Bursts of at most `capacity` units, refilled at `refill` units per `period_us`.

    With T = period / refill, the time in which a unit comes back, a bucket owes o = max(0, arrival - now) µs
    of refill, and

        n units pass        iff   o <= (capacity - n) T
        charging them             arrival = now + o + ceil(n T)
        remaining                 floor(capacity - o / T)
        retry after               ceil(o - (capacity - n) T)
        reset after               o

    Regimes. Unused, o = 0: a burst of `capacity` passes at once. Saturated, o stays near capacity * T: a unit
    passes every T. In between, any stretch of t µs admits at most capacity + t / T: a bucket alone keeps no
    window's promise (100 with 100/s admit 199 in one second), which is what WINDOW is for.

    After a change of the rate the units owed stay the same, so a change neither fills nor empties a bucket. If
    the clock runs backwards, more is owed: it delays, and never admits too much.

    Exact while capacity * period_us < 2**53, because Lua counts in doubles.

    Source: ITU-T I.371 (2004), annex A, "virtual scheduling algorithm".

    Parameters
    ----------
    capacity, refill:
        Units, at least 1.
    period_us:
        Microseconds, at least 1.
    """

    capacity: int
    period_us: int
    refill: int

    def decide(self, state: BucketState, units: int, now_us: int, *, reserved: int = 0) -> tuple[Decision, BucketState]:
        """Charge `units`, or refuse and leave the state as it is. `reserved` units are not for this call: they are left."""
        if reserved:
            return replace(self, capacity=self.capacity - reserved).decide(state, units, now_us)
        owed = self._owed(state, now_us)
        if units > self.capacity:
            return self._decision(owed, math.inf), state
        late = owed * self.refill - (self.capacity - units) * self.period_us
        if late > 0:
            return self._decision(owed, _ceil(late, self.refill) / SECOND_US), state
        owed += _ceil(units * self.period_us, self.refill)
        return self._decision(owed, 0.0), self._state(owed, now_us)

    def refund(self, state: BucketState, units: int, now_us: int, charged_at_us: int) -> BucketState:
        """Take back what was charged at `charged_at_us`, less what has come back by itself since."""
        given = max(0, units * self.period_us // self.refill - max(0, now_us - charged_at_us))
        return self._state(max(0, self._owed(state, now_us) - given), now_us)

    def remaining(self, state: BucketState, now_us: int) -> int:
        """Units that would pass at once."""
        return self._remaining(self._owed(state, now_us))

    def _owed(self, state: BucketState, now_us: int) -> int:
        owed, interval_us = max(0, state.arrival_us - now_us), self.period_us / self.refill
        is_same = abs(state.interval_us - interval_us) <= interval_us * _SAME_RATE
        return owed if not owed or is_same else math.ceil(owed / state.interval_us * interval_us)

    def _state(self, owed_us: int, now_us: int) -> BucketState:
        return BucketState(now_us + owed_us, _in_4_bytes(self.period_us / self.refill)) if owed_us else BucketState()

    def _remaining(self, owed_us: int) -> int:
        return max(0, (self.capacity * self.period_us - owed_us * self.refill) // self.period_us)

    def _decision(self, owed_us: int, retry_after: float) -> Decision:
        return Decision(
            allowed=not retry_after,
            remaining=self._remaining(owed_us),
            retry_after=retry_after,
            reset_after=owed_us / SECOND_US,
            capacity=self.capacity,
        )


def _in_4_bytes(number: float) -> float:
    (stored,) = struct.unpack("<f", struct.pack("<f", number))
    return stored


def _ceil(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
