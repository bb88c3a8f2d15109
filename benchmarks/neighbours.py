from __future__ import annotations

import time
from collections.abc import Iterator

from apps import SERVICE
from bench import Bench
from figure import Figure
from spread import Spread, interleave, ratio

from crew import Crew, wait_until

_GOAL = 2
_LIMITS = {"services": {SERVICE: {"windows": [{"limit": 50, "per": "1s"}]}}}
_TURGOR = "behind {} limited tasks, Turgor"
_PLAIN = "behind {} tasks without limits, plain Celery"
_ALONE = "behind nothing, plain Celery"


class _Neighbour:
    """An unlimited task that comes when others wait."""

    def __init__(self, crew: Crew, ahead: int) -> None:
        self._crew, self._ahead = crew, ahead

    def latency_ms(self) -> float:
        """From its submission to its start."""
        for number in range(self._ahead - self._crew.left()):
            self._crew.application.noop.delay(number)
        self._crew.forget()
        began = time.time()
        self._crew.application.note_unlimited.delay(0)
        wait_until(lambda: bool(self._crew.starts()), "the unlimited task starts", every_s=0.001)
        (_, started), *_ = self._crew.starts()
        return (started - began) * 1_000

    def alone_ms(self) -> float:
        self._crew.wait_until_drained()
        return _Neighbour(self._crew, 0).latency_ms()


def measure(bench: Bench) -> Iterator[Figure]:
    """How long a task that no limit concerns waits from its submission to its start, when others were submitted before it. One
    worker with two processes; the others do nothing, and their limit is 50 in any second.
    """
    ahead = bench.size(20, 500)
    turgor, plain = _TURGOR.format(ahead), _PLAIN.format(ahead)
    with Crew(bench.server.database(0), _LIMITS) as limited, Crew(bench.server.database(1), None) as unlimited:
        behind_limited, behind_plain = _Neighbour(limited, ahead), _Neighbour(unlimited, ahead)
        contenders = {turgor: behind_limited.latency_ms, plain: behind_plain.latency_ms, _ALONE: behind_plain.alone_ms}
        found = interleave(bench.size(2, 11), contenders)
    for name, latencies in found.items():
        yield Figure(name, f"{Spread.of(latencies):.1f} ms")
    yield _figure("behind limited tasks / behind as many without limits", ratio(found, turgor, plain))
    yield _figure("behind limited tasks / behind nothing", ratio(found, turgor, _ALONE))


def _figure(what: str, share: Spread) -> Figure:
    return Figure(what, f"{share:.2f}", f"≤ {_GOAL}", share.median <= _GOAL)
