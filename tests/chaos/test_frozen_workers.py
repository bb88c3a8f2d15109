"""A worker stops answering for a while, as machines do that swap, migrate or are debugged, and then goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from crew import AppSettings, Hire
from support import wait_until
from turgor.worker import TaskState

from .conftest import LIMIT, PERIOD_S, most_in_a_window


def test_who_wakes_after_its_lease_does_not_end_what_its_successor_runs(
    settings: AppSettings, hire: Hire, tmp_path: Path
) -> None:
    open_file = tmp_path / "open"
    sleeper = hire(settings, concurrency=1)
    running = sleeper.proj.hold.delay(str(open_file))
    first = sleeper.start_of(running.id)
    waiting = sleeper.proj.single.delay("next")
    sleeper.worker.freeze()

    other = hire(settings)
    wait_until(lambda: len(other.journal.starts(running.id)) == 2, description="the other worker takes over", timeout=15)
    second = other.journal.starts(running.id)[1]
    assert second.fence != first.fence
    os.kill(second.pid, signal.SIGSTOP)  # one of the other worker's processes: it has the task and cannot end it
    try:
        sleeper.worker.thaw()
        open_file.touch()
        wait_until(lambda: f"[{running.id}] succeeded" in sleeper.worker.log, description="the zombie ends the task")

        def zombie_is_done() -> bool:
            result = other.proj.call.delay()
            return other.start_of(result.id).pid == first.pid

        wait_until(zombie_is_done, description="the zombie's only process has gone on to another task")
        assert other.proj.turgor.explain(running.id).state is TaskState.RUNNING
        assert not other.journal.starts(waiting.id)
    finally:
        os.kill(second.pid, signal.SIGCONT)
    assert other.start_of(waiting.id).at >= other.journal.ends(running.id)[1].at
    other.wait_until_idle()
    assert len(other.journal.starts(running.id)) == 2
    assert len(other.journal.starts(waiting.id)) == 1


def test_what_bunched_up_behind_frozen_workers_stays_within_the_limit(settings: AppSettings, hire: Hire, tmp_path: Path) -> None:
    """It was released long ago and starts now: a limit that counts releases would let as many more go at once."""
    crews = [hire(settings.but(options={"claim_within_s": 30, "lease_s": 30})) for _ in range(2)]
    proj, journal, client = crews[0].proj, crews[0].journal, crews[0].client
    busy = [proj.linger.delay(str(tmp_path / "open")) for _ in range(4)]
    for result in busy:
        crews[0].start_of(result.id)
    ids = [proj.call.apply_async((n,), service="narrow").id for n in range(4 * LIMIT)]
    ahead = f"{proj.turgor.keys.prefix}:unclaimed"
    wait_until(lambda: int(client.hget(ahead, "celery") or 0) == 16, description="two workers have 8 tasks each before them")

    for crew in crews:
        crew.worker.freeze()
    frozen_at, _ = client.time()
    wait_until(lambda: client.time()[0] >= frozen_at + 2 * PERIOD_S, description="a freeze of two windows", timeout=15)
    (tmp_path / "open").touch()
    for crew in crews:
        crew.worker.thaw()
    for task_id in ids:
        crews[0].start_of(task_id, timeout=30)
    crews[0].wait_until_idle()
    starts = [start for start in journal.starts() if start.task == "proj.call"]
    assert len(starts) == len(ids)
    assert most_in_a_window(starts) <= LIMIT
