from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from statistics import median
from typing import Any

from apps import MARK, NEIGHBOUR, SERVICE
from bench import Bench
from figure import Figure
from spread import Spread

from crew import Crew, wait_until

_RATE = 50
_LIMITS: dict[str, Any] = {
    "services": {SERVICE: {"requests_per_second": _RATE, "burst_capacity": 1}, NEIGHBOUR: {"requests_per_second": 1_000}}
}
_LOOPS = 10
_SLACK_MS = 50
_MOST = 2


def measure(bench: Bench) -> Iterator[Figure]:
    """Who is next. A limit of 50 a second, evenly spread, one worker with two processes. Ten loops of equal weight, of which one
    sends a thousand times more than each of the others: Jain's index of what they have got by the time the others have
    nothing left. Then, while all that the one has sent waits: a CRITICAL task that arrives, several times, from its submission to
    its start; and the tasks of another service with a wide limit of its own, against the same before anything waited.
    """
    arrivals, asks = bench.size(1, 40), bench.size(3, 300)
    flood, quiet = bench.size(100, 20_000), bench.size(2, 20)
    with Crew(bench.server.database(0), _LIMITS) as crew:
        idle = [_Arrival(crew, "note_neighbour").wait_ms for _ in range(asks)]
        yield _fairness(crew, flood, quiet)
        waiting = crew.left()
        yield from _critical(waiting, [_Arrival(crew, "note_fence", priority=9) for _ in range(arrivals)])
        busy = [_Arrival(crew, "note_neighbour").wait_ms for _ in range(asks)]
        yield Figure("tasks that wait for the limit, at the beginning and at the end", f"{waiting:,}; {crew.left():,}")
    for name, waits in (("in an idle system", idle), ("beside what waits", busy)):
        yield Figure(f"a task of another service {name}, median; p99", f"{median(waits):.1f}; {_p99(waits):.1f} ms")
    share = _p99(busy) / _p99(idle)
    yield Figure("p99 beside what waits / in an idle system", f"{share:.2f}", f"≤ {_MOST}", share <= _MOST)


def _fairness(crew: Crew, flood: int, quiet: int) -> Figure:
    note, turgor = crew.application.note, crew.application.turgor
    turgor.pause(f"service:{SERVICE}")
    for loop in range(_LOOPS):
        turgor.loop(f"loop-{loop}").submit_many([note.s(loop)] * (quiet if loop else flood))
    crew.forget()
    turgor.resume(f"service:{SERVICE}")
    total = _LOOPS * quiet
    wait_until(lambda: len(crew.starts()) >= total, "the loops are served", every_s=0.05)
    served = Counter(loop for loop, _ in crew.starts()[:total])
    jain = total**2 / (_LOOPS * sum(share * share for share in served.values()))
    return Figure(f"Jain's index, {flood:,} tasks of one loop and {quiet} of each of nine", f"{jain:.4f}", "≥ 0.99", jain >= 0.99)


class _Arrival:
    """One task of high rank, or of another service, that arrives while others wait."""

    def __init__(self, crew: Crew, task: str, **options: Any) -> None:
        time.sleep(0.03 * random.random())
        crew.forget()
        before = crew.fence()
        began_s = time.time()
        getattr(crew.application, task).apply_async(**options)
        after = crew.fence()
        wait_until(lambda: any(number >= MARK for number, _ in crew.starts()), f"{task} starts", every_s=0.001)
        number, started_s = next(start for start in crew.starts() if start[0] >= MARK)
        self.wait_ms = 1_000 * (started_s - began_s)
        fence = number - MARK
        # Of a release in the moment of the submission nobody knows on which side of it it was.
        self.passed_by = fence - before - 1 if before == after or fence == before + 1 else None


def _critical(waiting: int, arrivals: list[_Arrival]) -> Iterator[Figure]:
    known = [each.passed_by for each in arrivals if each.passed_by is not None]
    what = f"releases between a CRITICAL arrival behind {waiting:,} and its own, most of {len(known)} arrivals"
    yield Figure(what, f"{max(known)}", "0", not max(known))
    bound_ms, wait = 1_000 / _RATE + _SLACK_MS, Spread.of(each.wait_ms for each in arrivals)
    yield Figure("its wait", f"{wait:.1f} ms", f"≤ {bound_ms:.0f} ms", wait.high <= bound_ms)


def _p99(waits: list[float]) -> float:
    return sorted(waits)[len(waits) * 99 // 100]
