"""A forecast book knows when tasks were expected to start, and how far from the truth that was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import cast

from ..limits.keys import Keys
from ..limits.link import Link
from ..limits.lua import LIMITS_LUA, Client, Script
from .explanation import Explanation, explanation
from .scheduler import SECOND_US
from .waiting_task import WaitingTask

KEPT = 1_000
REMEMBERED_S = 86_400
_LUA = Path(__file__).parent / "lua"
_EXPECT, _JUDGE = Script(_LUA / "expect.lua", LIMITS_LUA), Script(_LUA / "judge.lua", LIMITS_LUA)
SCRIPTS = (_EXPECT, _JUDGE)


@dataclass(frozen=True, slots=True)
class ForecastStatistics:
    """How good the forecasts were of the last tasks that were submitted with one and have started.

    Parameters
    ----------
    judged:
        How many these are, at most 1,000. With none, all others are 0.
    median_error_s, p90_error_s:
        Seconds between the expected and the real start, whichever came first: half, and nine in ten, are within.
    bias_s:
        The mean of real minus expected start, in seconds: above 0, tasks start later than was said.
    median_wait_s:
        What half of them waited at most, for comparison.
    """

    judged: int = 0
    median_error_s: float = 0.0
    p90_error_s: float = 0.0
    bias_s: float = 0.0
    median_wait_s: float = 0.0

    def __str__(self) -> str:
        if not self.judged:
            return "no forecasts judged"
        return (
            f"{self.judged} forecasts judged: half within {self.median_error_s:.2f} s of the start, nine in ten within "
            f"{self.p90_error_s:.2f} s, where half waited {self.median_wait_s:.2f} s"
        )

    @classmethod
    def of(cls, judgements: Sequence[tuple[float, float]]) -> ForecastStatistics:
        """From pairs of expected and real waits in seconds."""
        if not judgements:
            return cls()
        errors = [waited - expected for expected, waited in judgements]
        sizes = [abs(error) for error in errors]
        waits = [waited for _, waited in judgements]
        return cls(len(judgements), _quantile(sizes, 0.5), _quantile(sizes, 0.9), fmean(errors), _quantile(waits, 0.5))


class ForecastBook:
    """The forecasts of one realm.

    Parameters
    ----------
    client, keys:
        Where the realm lives.

    Methods that write take `now_us`, which only tests and the simulator pass: the server's clock decides.
    """

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._run, self._realm = Link(client).call, keys.prefix

    def expect(self, task: WaitingTask, *, now_us: int | str = "") -> Explanation:
        """Where a task stands that was just submitted; when it is expected to start is remembered until it does, or a day."""
        reply = self._run(
            _EXPECT, self._realm, now_us, task.task, task.lane.name, task.weight, task.tokens, REMEMBERED_S * SECOND_US
        )
        return explanation(task.task, reply)

    def judge(self, task: str, started_s_ago: float, *, now_us: int | str = "") -> bool:
        """Hold what was expected against the real start. False if nothing is remembered; a second time there is not."""
        verdict: bytes = self._run(_JUDGE, self._realm, now_us, task, round(started_s_ago * SECOND_US), KEPT)
        return verdict == b"judged"

    def statistics(self) -> ForecastStatistics:
        """How good the last forecasts were, of all the cluster."""
        stored = cast("list[bytes]", self._client.lrange(self._keys("forecasts"), 0, KEPT - 1))
        pairs = (line.split() for line in stored)
        return ForecastStatistics.of([(int(expected) / SECOND_US, int(waited) / SECOND_US) for expected, waited in pairs])


def _quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
