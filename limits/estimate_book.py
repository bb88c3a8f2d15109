"""An estimate book knows what the tasks of a realm cost in tokens, as Redis has learned it from what they settled."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from .keys import Keys
from .lua import Client
from .quantile import QuantileState, RunningQuantile

REFRESH_S = 1.0
CACHE_SIZE = 4_096
_HASH = "estimates"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a task is expected to cost.

    Parameters
    ----------
    quantile:
        Tokens that nine in ten of its last runs did not exceed.
    count:
        Runs that were ever learned.
    """

    quantile: int
    count: int


class EstimateBook:
    """The estimates of one realm, each at most a second old.

    Parameters
    ----------
    client, keys:
        Where the realm lives.
    clock:
        Seconds, monotonic; says when an estimate is too old.
    """

    def __init__(self, client: Client, keys: Keys, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._key, self._clock = client, keys(_HASH), clock
        self._found: dict[str, tuple[float, Estimate | None]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def of_task(self, name: str) -> Estimate | None:
        """The estimate of one task, by its name; None where nothing is learned."""
        now_s = self._clock()
        looked_up_s, estimate = self._found.get(name, (float("-inf"), None))
        if now_s - looked_up_s >= REFRESH_S:
            packed = cast("bytes | None", self._client.hget(self._key, name))
            estimate = None if packed is None else _estimate(packed)
            # Names may be made up at run time (`send_task`), so what is remembered has a bound.
            if len(self._found) >= CACHE_SIZE:
                self._found.clear()
            self._found[name] = (now_s, estimate)
        return estimate

    def all(self) -> dict[str, Estimate]:
        """Every task of which something is learned, as it is now."""
        stored = cast("dict[bytes, bytes]", self._client.hgetall(self._key))
        return {name.decode(): _estimate(packed) for name, packed in sorted(stored.items())}


def _estimate(packed: bytes) -> Estimate:
    state = QuantileState.unpack(packed)
    return Estimate(RunningQuantile().estimate(state) or 0, state.count)
