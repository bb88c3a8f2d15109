"""Purging a queue discards what waits for it as well, and counts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from redis import Redis

from brokers import RABBITMQ, BrokerQueue, each_broker
from crew import AppSettings, Crew, leftovers
from turgor.worker import TaskState


@pytest.fixture
def proj(redis_client: Redis, settings: AppSettings) -> ModuleType:
    """An application that no worker knows."""
    return settings.load()


def fill(proj: ModuleType) -> int:
    """Work in every state that no worker has seen: in the broker's queue, waiting in many lanes, delayed."""
    results = [proj.single.delay(i) for i in range(3)]
    proj.turgor.pause("service:api")
    results += [proj.call.apply_async((i,), loop=f"loop-{i}") for i in range(12)]
    results += [proj.call.apply_async((i,), loop="busy", max_wait=60) for i in range(450)]
    results += [proj.call.apply_async((i,), countdown=60) for i in range(5)]
    results += [proj.free.apply_async(countdown=60), proj.free.delay()]
    return len(results)


@each_broker()
def test_a_purge_discards_what_waits_is_delayed_or_is_released(
    proj: ModuleType, redis_client: Redis, broker_elsewhere: BrokerQueue | None
) -> None:
    filled = fill(proj)
    assert proj.app.control.purge() == filled
    assert not leftovers(redis_client, proj.turgor.keys.prefix)
    assert (broker_elsewhere.size if broker_elsewhere else redis_client.llen("celery")) == 0
    assert not redis_client.exists(proj.turgor.keys("deadlines"), proj.turgor.keys("expired"))
    assert proj.turgor.usage("service:single")[0].used == 0
    assert proj.app.control.purge() == 0


def test_nobody_is_told_of_a_purge(proj: ModuleType) -> None:
    result = proj.call.apply_async(countdown=60)
    proj.app.control.purge()
    assert result.state == "PENDING"
    assert proj.turgor.explain(result.id).state is TaskState.UNKNOWN


@each_broker("same redis", RABBITMQ)
def test_the_command_of_celery_purges_what_waits_and_counts_it(proj: ModuleType, settings: AppSettings) -> None:
    filled = fill(proj)
    command = [sys.executable, "-m", "celery", "-A", "proj", "purge", "--force"]
    done = subprocess.run(command, env={**os.environ, **settings.environment}, capture_output=True, text=True, check=False)
    assert f"Purged {filled} messages" in done.stdout, done.stdout + done.stderr


def test_another_queue_is_left_alone(proj: ModuleType) -> None:
    proj.turgor.pause("service:api")
    result = proj.call.apply_async(queue="other")
    delayed = proj.call.apply_async(queue="other", countdown=60)
    assert purged(proj, "celery") == 0
    assert proj.turgor.explain(result.id).state is TaskState.WAITING
    assert proj.turgor.explain(delayed.id).state is TaskState.DELAYED
    assert purged(proj, "other") == 2


def purged(proj: ModuleType, queue: str) -> int:
    with proj.app.connection_for_write() as connection:
        return connection.default_channel.queue_purge(queue)


def test_what_a_worker_runs_goes_on(crew: Crew, tmp_path: Path) -> None:
    running = crew.proj.hold.delay(str(tmp_path / "open"), "ran")
    crew.start_of(running.id)
    waiting = [crew.proj.single.delay(i) for i in range(3)]
    assert crew.proj.app.control.purge() == len(waiting)
    (tmp_path / "open").touch()
    assert running.get(timeout=10) == "ran"
    crew.wait_until_idle()
    assert not any(crew.journal.starts(each.id) for each in waiting)
