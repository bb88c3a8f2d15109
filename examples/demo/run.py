"""Runs the demo: sets the stage, watches, and reports."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from .interrupts import Interrupted, Interrupts
from .moment import Moment, Observer
from .report import DemoReport
from .screen import Screen
from .stage import Cast, Stage

LOOK_EVERY_S = 1.0
KILL_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class Play:
    """What is to happen. `seconds` None: until an interrupt. `kill_worker`: one node is killed in the middle."""

    cast: Cast
    seconds: float | None = None
    kill_worker: bool = False

    @property
    def kill_at_s(self) -> float | None:
        if not self.kill_worker:
            return None
        return KILL_AFTER_S if self.seconds is None else self.seconds / 2


def run(play: Play) -> int:
    """Run it to its end, print the report, and return the exit status: 0 if no call was one too many and none failed."""
    console = Console()
    try:
        with Interrupts() as interrupts:
            report = _perform(play, interrupts, console)
    except Interrupted:
        console.print("Ended before it had begun.")
        return 1
    console.print(report.render())
    return 0 if report.is_clean else 1


def _perform(play: Play, interrupts: Interrupts, console: Console) -> DemoReport:
    console.print(_announcement(play), soft_wrap=True, highlight=False)
    with Stage(play.cast, interrupts) as stage:
        observer = Observer(server_url=stage.server_url, service_url=stage.service_url)
        stage.let_loops_begin()
        while not observer.every_service_was_called():
            stage.check()
            interrupts.pause(0.05)
        observer.begin()
        with Screen(console, hint=stage.hint, seconds=play.seconds) as screen:
            bell = _watch(play, stage, interrupts, observer, screen)
        stage.stop_callers()
        return DemoReport(bell, observer.look())


def _watch(play: Play, stage: Stage, interrupts: Interrupts, observer: Observer, screen: Screen) -> Moment:
    """Show a moment every second until the time is up or somebody interrupts. Returns the last one."""
    kill_at_s = play.kill_at_s
    while True:
        moment = observer.look()
        screen.show(moment)
        left_s = float("inf") if play.seconds is None else play.seconds - moment.elapsed_s
        if left_s <= 0 or interrupts.wait(min(LOOK_EVERY_S, left_s)):
            return moment if left_s <= 0 else observer.look()
        stage.check()
        if kill_at_s is not None and moment.elapsed_s >= kill_at_s:
            kill_at_s = None
            stage.kill_worker()
            screen.note("kill -9 worker-1, start")


def _announcement(play: Play) -> str:
    cast = play.cast
    nodes = f"{cast.workers} Celery worker{'s' * (cast.workers > 1)} of {cast.processes} processes"
    dispatchers = f", {cast.dispatchers} extra dispatcher{'s' * (cast.dispatchers > 1)}" if cast.dispatchers else ""
    return f"Starting Valkey, an HTTP service with limits, {nodes}{dispatchers}, and nine loops ..."
