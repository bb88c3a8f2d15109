"""A pool that follows its work: a trace of a burst that is bound by workers, and of one that is bound by a limit."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from apps import SERVICE
from bench import Bench, Scale
from figure import Figure
from plot import Curve, Panel, svg

from crew import Crew

TRACES = Path(__file__).parent / "traces"
RUN_S, MOST, PATIENCE_S = 0.25, 8, 5
EVERY_S = 0.5
_COLUMNS: tuple[str, ...] = ("seconds", "waiting", "ready", "running", "releasable", "desired", "pool", "reason")


@dataclass(frozen=True, slots=True)
class Burst:
    """So many tasks at once, of a quarter of a second each; `limits` of their service."""

    name: str
    tasks: int
    limits: dict[str, Any]


def bursts(bench: Bench) -> tuple[Burst, Burst]:
    count = bench.size(16, 400)
    rate = {"requests_per_minute": 240, "burst_capacity": 4}  # 4/s x 0.25 s: one process, or two with what a run costs besides
    return Burst("worker-bound", count, {"requests_per_second": 1000}), Burst("limit-bound", count, rate)


def measure(bench: Bench) -> Iterator[Figure]:
    """A worker with `--autoscale=8,1` is given a burst of tasks of 0.25 s, behind a limit of 1,000 a second and behind one of
    240 a minute. Its pool should grow for the first one only, and shrink when that is done.
    """
    bound_by_workers, bound_by_limit = bursts(bench)
    grown = _trace(bench, bound_by_workers)
    yield Figure("bound by workers: processes at most", f"{max(grown)}", f"{MOST}", max(grown) == MOST)
    yield Figure("bound by workers: processes at the end", f"{grown[-1]}", "1", grown[-1] == 1)
    held = _trace(bench, bound_by_limit)
    yield Figure("bound by a limit: processes at most, before a run time is known", f"{max(held)}")
    yield Figure("bound by a limit: processes at the end, with work waiting", f"{held[-1]}", "≤ 2", held[-1] <= 2)


def _trace(bench: Bench, burst: Burst) -> list[int]:
    """The sizes of the pool."""
    bench.server.empty()
    rows = list(record(bench, burst))
    if bench.scale is not Scale.QUICK:
        write(burst, rows)
    return [row["pool"] for row in rows]


def record(bench: Bench, burst: Burst) -> Iterator[dict[str, Any]]:
    """What is seen each half second, from before the burst until the pool has shrunk, or for `lasts_s`."""
    lasts_s = bench.size(2, 40)
    limits = {"services": {SERVICE: burst.limits}}
    with (
        mock.patch.dict(os.environ, AUTOSCALE_KEEPALIVE=str(PATIENCE_S)),
        Crew(bench.server.url, limits, processes=1, options=[f"--autoscale={MOST},1"]) as crew,
    ):
        turgor, started, submitted = crew.application.turgor, time.monotonic(), False
        while (now_s := time.monotonic() - started) < lasts_s:
            answer = turgor.desired_workers()
            values = (answer.waiting, answer.ready, answer.running, answer.releasable, answer.desired, answer.processes)
            yield dict(zip(_COLUMNS, (round(now_s, 1), *values, answer.reason), strict=True))
            if not submitted and now_s >= 2 * EVERY_S:
                submitted = True
                for _ in range(burst.tasks):
                    crew.application.sleep.delay(RUN_S)
            time.sleep(EVERY_S)


def write(burst: Burst, rows: list[dict[str, Any]]) -> None:
    """The trace as numbers and as a picture."""
    TRACES.mkdir(exist_ok=True)
    with (TRACES / f"{burst.name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

    def curve(name: str, colour: str) -> Curve:
        return Curve(name, colour, [(row["seconds"], row[name]) for row in rows])

    panels = [
        Panel("tasks", [curve("waiting", "#b04030"), curve("releasable", "#3070b0"), curve("ready", "#808080")]),
        Panel("processes", [curve("pool", "#308050"), curve("desired", "#c09020")]),
    ]
    (TRACES / f"{burst.name}.svg").write_text(svg(f"A {burst.name} burst", panels))
