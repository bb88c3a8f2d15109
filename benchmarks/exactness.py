from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise

from apps import SERVICE
from bench import Bench
from figure import Figure

from crew import Crew, wait_until

_LIMIT = 50
_PERIOD_S = 1.0
_NODES, _PROCESSES = 2, 2


def measure(bench: Bench) -> Iterator[Figure]:
    """A limit of 50 in any second, two worker nodes with two processes each and a dispatcher in each, as the tasks themselves
    saw it: each notes the time when its code begins. Overshoot: the most starts in any second, wherever it begins, / 50.
    Utilisation: the time that the limit asks for / the time taken, up to the first start of the last second.
    """
    tasks = bench.size(150, 2_000)
    limits = {"services": {SERVICE: {"windows": [{"limit": _LIMIT, "per": "1s"}]}}}
    with Crew(bench.server.database(0), limits, nodes=_NODES, processes=_PROCESSES) as crew:
        for number in range(tasks):
            crew.application.note.delay(number)
        wait_until(lambda: not crew.left(), f"all {tasks} tasks have run", every_s=0.25)
        starts = crew.starts()
    numbers = [number for number, _ in sorted(starts, key=lambda start: start[1])]
    times = sorted(time_s for _, time_s in starts)
    overshoot, used = _most_in_a_period(times) / _LIMIT, _utilisation(times)
    yield Figure(f"overshoot, {tasks:,} waiting", f"{overshoot:.2f}", "≤ 1.00", overshoot <= 1)
    yield Figure("utilisation", f"{used:.3f}", "≥ 0.98", used >= 0.98)
    wasted, lost = len(numbers) - len(set(numbers)), tasks - len(set(numbers))
    yield Figure("executions without a release", f"{wasted}", "0", not wasted)
    yield Figure("tasks lost", f"{lost}", "0", not lost)
    longest = max(later - earlier for earlier, later in pairwise(times))
    yield Figure("longest time without a start (the whole budget of a second may be spent at its beginning)", f"{longest:.2f} s")
    strayed = max(abs(number - place) for place, number in enumerate(numbers))
    yield Figure("most places that a task started before or after its turn", f"{strayed}")


def _most_in_a_period(times: Sequence[float]) -> int:
    return max(bisect_left(times, first + _PERIOD_S) - place for place, first in enumerate(times))


def _utilisation(times: Sequence[float]) -> float:
    periods = (len(times) - 1) // _LIMIT
    return periods * _PERIOD_S / (times[periods * _LIMIT] - times[0])
