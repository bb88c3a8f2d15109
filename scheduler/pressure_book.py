"""A pressure book knows what new work would meet at its service."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ..limits.degradation import Pressure
from ..limits.keys import Keys
from ..limits.link import Link
from ..limits.lua import LIMITS_LUA, Client, Script
from .lane import Lane
from .scheduler import SECOND_US

REFRESH_S = 1.0
CACHE_SIZE = 4_096
_PRESSURE = Script(Path(__file__).parent / "lua" / "pressure.lua", LIMITS_LUA)
SCRIPTS = (_PRESSURE,)


class PressureBook:
    """The pressures of one realm, each at most a second old.

    Parameters
    ----------
    client, keys:
        Where the realm lives.
    clock:
        Seconds, monotonic; says when a pressure is too old.
    """

    def __init__(self, client: Client, keys: Keys, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._realm, self._clock = Link(client).call, keys.prefix, clock
        self._found: dict[str, tuple[float, Pressure]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def of_lane(self, lane: Lane, *, weight: int = 1, tokens: int = 0) -> Pressure:
        """What a task of this lane would meet, a second ago or now."""
        now_s = self._clock()
        looked_up_s, pressure = self._found.get(lane.name, (float("-inf"), Pressure()))
        if now_s - looked_up_s >= REFRESH_S:
            pressure = self.read(lane, weight=weight, tokens=tokens)
            if len(self._found) >= CACHE_SIZE:
                self._found.clear()
            self._found[lane.name] = (now_s, pressure)
        return pressure

    def read(self, lane: Lane, *, weight: int = 1, tokens: int = 0, now_us: int | str = "") -> Pressure:
        """The same as it is now. `now_us` is for tests and the simulator: the server's clock decides."""
        wait_us, opens_us, backlog = self._run(_PRESSURE, self._realm, now_us, lane.name, lane.scopes.service, weight, tokens)
        wait_s = int(wait_us) / SECOND_US if int(wait_us) >= 0 else None
        return Pressure(wait_s, float(backlog), int(opens_us) / SECOND_US)
