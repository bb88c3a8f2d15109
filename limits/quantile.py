"""A running quantile: what all but one in ten calls of a kind stay below, judged by the last ones. Pure: state and value in, state out.

Redis learns (`lua/parts/estimates.lua`); this is what it must remember, and the tests hold it to that.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

QUANTILE = 0.9
MEMORY = 50
_NUMBER = struct.Struct("<d")


@dataclass(frozen=True, slots=True)
class QuantileState:
    """What is stored for one kind of calls.

    Parameters
    ----------
    values:
        The last values, oldest first; at most `MEMORY`.
    count:
        How many were ever learned.
    """

    values: tuple[int, ...] = ()
    count: int = 0

    @classmethod
    def unpack(cls, packed: bytes) -> QuantileState:
        """From the text that the script stores: the count, then the values, as doubles of 8 bytes."""
        count, *values = (int(number) for (number,) in _NUMBER.iter_unpack(packed))
        return cls(tuple(values), count)


@dataclass(frozen=True, slots=True)
class RunningQuantile:
    """The quantile of the last values.

    With the m last values in order, v(1) <= ... <= v(m), and m at most `memory`,

        estimate    v(k),  k = min(m, ceil(quantile * (m + 1)))

    because of values from one distribution, in any order, the next one is at most v(k) with probability
    k / (m + 1), whatever the distribution is.

    Regimes. One value: that value. Fewer than quantile / (1 - quantile), nine by default: the largest of them,
    because so few say nothing of the tail. Steady: covers nine in ten of the values to come; about a tenth off
    the true quantile for costs that vary by half. After a shift nothing of the old is left when `memory` values
    have come: upwards it follows after 5 of them, downwards after 46.

    A value may be corrected: the new one takes the place of one that equals the old. Their order matters only for
    which is forgotten first.

    Source: S. S. Wilks, "Determination of Sample Sizes for Setting Tolerance Limits" (1941), over a sliding
    window. Why not a sketch with fewer numbers: docs/decisions/0070.

    Parameters
    ----------
    quantile:
        Above 0, at most 1.
    memory:
        Values that are remembered, at least 1.
    """

    quantile: float = QUANTILE
    memory: int = MEMORY

    def learn(self, state: QuantileState, value: int, *, instead_of: int | None = None) -> QuantileState:
        """Remember a value; as the correction of an earlier one, if that is not forgotten yet."""
        if instead_of is not None:
            for at in reversed(range(len(state.values))):
                if state.values[at] == instead_of:
                    return QuantileState((*state.values[:at], value, *state.values[at + 1 :]), state.count)
            return state
        return QuantileState((*state.values, value)[-self.memory :], state.count + 1)

    def estimate(self, state: QuantileState) -> int | None:
        """The quantile; None where nothing is learned."""
        if not state.values:
            return None
        # A product such as 0.7 * 10 may come out a hair above the whole number that it is.
        rank = math.ceil(self.quantile * (len(state.values) + 1) - 1e-9)
        return sorted(state.values)[min(rank, len(state.values)) - 1]
