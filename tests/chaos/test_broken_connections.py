"""Connections to Redis break while everybody lives. Nobody died, so nothing runs twice."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import cast

import pytest
from kombu.transport.redis import Channel
from redis import Redis

from crew import AppSettings, Hire
from support import wait_until

from .conftest import LIMIT, Supervise, most_in_a_window

PATIENT = {"claim_within_s": 3, "lease_s": 10}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_work_goes_on_when_every_connection_breaks_again_and_again(
    settings: AppSettings, hire: Hire, supervise: Supervise, pool: str
) -> None:
    crew = hire(settings.but(options=PATIENT), pool=pool)
    supervise(crew)
    ids = [crew.proj.work.apply_async((0.02, n), service="narrow").id for n in range(4 * LIMIT)]
    for _ in range(4):
        seen = len(crew.journal.starts())
        wait_until(lambda seen=seen: len(crew.journal.starts()) >= seen + LIMIT // 2, description="some more start", timeout=20)
        crew.client.client_kill_filter(_type="normal", skipme=True)
    for task_id in ids:
        crew.start_of(task_id, timeout=30)
    crew.wait_until_idle(timeout=20)
    assert sorted(start.id for start in crew.journal.starts()) == sorted(ids)
    assert most_in_a_window(crew.journal.starts()) <= LIMIT


def test_a_task_that_celery_cancels_with_its_connection_runs_again(settings: AppSettings, hire: Hire, tmp_path: Path) -> None:
    conf = {**settings.conf, "worker_cancel_long_running_tasks_on_connection_loss": True}
    crew = hire(settings.but(options={"claim_within_s": 60, "lease_s": 60}, conf=conf))
    result = crew.proj.hold_late.delay(str(tmp_path / "open"))
    crew.start_of(result.id)
    crew.client.client_kill_filter(_type="normal", skipme=True)
    wait_until(lambda: len(crew.journal.starts(result.id)) == 2, description="the task runs again", timeout=15)
    (tmp_path / "open").touch()
    crew.wait_until_idle()
    assert len(crew.journal.starts(result.id)) == 2


def leave_unacked(client: Redis, settings: AppSettings) -> str:
    """What remains of a worker that died with an unlimited task in its hands."""
    unread = settings.but(plain=True, conf={**settings.conf, "task_default_queue": "unread"}).load()
    left = unread.free.delay().id
    message = json.loads(cast("bytes", client.rpop("unread")))
    client.hset("unacked", "left", json.dumps([message, "", "celery"]))
    client.zadd("unacked_index", {"left": time.time()})
    return left


@pytest.mark.skipif(not hasattr(Channel, "unacked_restore_throttle"), reason="this kombu looks for such messages every 100 s")
def test_a_task_that_outlasts_the_visibility_timeout_runs_once(settings: AppSettings, hire: Hire, tmp_path: Path) -> None:
    """In plain Celery its message goes back into the queue: celery issues 2481, 5935 and 9882. What has no lease still does."""
    options = {"visibility_timeout": 1, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    crew = hire(settings.but(conf={**settings.conf, "broker_transport_options": options}))
    result = crew.proj.hold_late.delay(str(tmp_path / "open"))
    crew.start_of(result.id)
    assert not crew.client.exists("unacked", "unacked_index"), "its lease takes the place of kombu's acknowledgement"
    left = leave_unacked(crew.client, settings)
    crew.start_of(left, timeout=15)
    (tmp_path / "open").touch()
    crew.wait_until_idle()
    assert len(crew.journal.starts(result.id)) == len(crew.journal.starts(left)) == 1
    assert "stale copy" not in crew.worker.log


def test_processes_that_are_replaced_after_each_task_can_claim(settings: AppSettings, hire: Hire) -> None:
    """They are forked while other threads of the worker talk to Redis."""
    crew = hire(settings.but(conf={**settings.conf, "worker_max_tasks_per_child": 1}))
    ids = [crew.proj.call.delay(n).id for n in range(20)]
    for task_id in ids:
        crew.start_of(task_id, timeout=30)
    crew.wait_until_idle()
    assert len({start.pid for start in crew.journal.starts()}) == len(crew.journal.starts()) == 20
