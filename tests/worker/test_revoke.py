"""`revoke` reaches what waits, what is delayed and what no worker has popped; what a worker has, is the worker's."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import chord, group
from celery.events.receiver import EventReceiver
from celery.exceptions import ChordError, TaskRevokedError
from celery.signals import task_revoked
from redis import Redis

from crew import AppSettings, Crew, leftovers
from support import wait_until
from turgor.worker import TaskState


@pytest.fixture
def proj(redis_client: Redis, settings: AppSettings) -> ModuleType:
    """An application that no worker knows."""
    return settings.load()


@pytest.fixture
def blocked(crew: Crew, tmp_path: Path) -> Iterator[Crew]:
    """Somebody holds the only slot of the service `single` until the test is over."""
    blocker = crew.proj.hold.delay(str(tmp_path / "open"))
    crew.start_of(blocker.id)
    yield crew
    (tmp_path / "open").touch()
    crew.wait_until_idle()


def waiting(proj: ModuleType, **options: Any) -> Any:
    """A task that waits, because its service is paused."""
    proj.turgor.pause("service:api")
    return proj.call.apply_async((1,), **options)


def test_a_waiting_task_that_is_revoked_never_runs_and_its_caller_knows(blocked: Crew) -> None:
    result = blocked.proj.single.delay()
    assert blocked.proj.turgor.explain(result.id).state is TaskState.WAITING
    result.revoke()
    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get(timeout=5)
    assert result.state == "REVOKED"
    assert blocked.proj.turgor.explain(result.id).state is TaskState.UNKNOWN
    assert not blocked.journal.starts(result.id)


def test_no_worker_is_needed(proj: ModuleType, redis_client: Redis) -> None:
    result = waiting(proj)
    proj.app.control.revoke(result.id)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=5)
    assert not leftovers(redis_client, proj.turgor.keys.prefix)


@pytest.mark.parametrize("options", [{"countdown": 60}, {"countdown": 60, "task": "free"}])
def test_a_delayed_task_is_revoked_also_one_without_limits(
    proj: ModuleType, redis_client: Redis, options: dict[str, Any]
) -> None:
    result = proj.app.tasks[f"proj.{options.pop('task', 'call')}"].apply_async(**options)
    assert proj.turgor.explain(result.id).state is TaskState.DELAYED
    result.revoke()
    assert result.state == "REVOKED"
    assert not leftovers(redis_client, proj.turgor.keys.prefix)


def test_a_retry_that_is_delayed_is_revoked_by_the_tasks_id(crew: Crew) -> None:
    result = crew.proj.flaky.delay(1, countdown=60)
    wait_until(
        lambda: crew.proj.turgor.explain(result.id).state is TaskState.DELAYED, description="the second attempt is delayed"
    )
    crew.proj.app.control.revoke(result.id)
    assert result.state == "REVOKED"


def test_a_released_task_that_no_worker_has_popped_is_revoked_and_charged_nothing(proj: ModuleType, redis_client: Redis) -> None:
    result = proj.single.delay()
    assert proj.turgor.explain(result.id).state is TaskState.RELEASED
    result.revoke()
    assert result.state == "REVOKED"
    assert redis_client.llen("celery") == 0
    assert proj.turgor.usage("service:single")[0].used == 0
    assert not leftovers(redis_client, proj.turgor.keys.prefix)


def test_many_are_revoked_at_once(proj: ModuleType) -> None:
    proj.turgor.pause("service:api")
    results: Any = group(proj.call.s(i) for i in range(20)).delay()
    results.revoke()
    assert {each.state for each in results} == {"REVOKED"}


def test_a_chord_fails_with_a_member_that_was_revoked(blocked: Crew) -> None:
    proj = blocked.proj
    result = chord([proj.call.s(1), proj.single.s(2)], proj.total.s()).delay()
    result.parent.children[1].revoke()  # pyright: ignore[reportOptionalMemberAccess]
    with pytest.raises(ChordError, match="TaskRevokedError"):
        proj.app.AsyncResult(result.id).get(timeout=10)


def test_who_listens_is_told_as_by_a_worker(proj: ModuleType) -> None:
    proj.app.conf.worker_send_task_events = True
    heard: list[Any] = []
    task_revoked.connect(lambda **told: heard.append(told), weak=False, dispatch_uid="test")
    result = waiting(proj)
    with proj.app.connection_for_read() as connection:
        receiver: Any = EventReceiver(connection, handlers={"task-revoked": heard.append}, app=proj.app)
        with receiver.consumer_context(wakeup=False) as (own, *_):
            assert drained(own), "subscribed"
            result.revoke()
            wait_until(lambda: drained(own) and len(heard) == 2, description="the event is here")
    task_revoked.disconnect(dispatch_uid="test")
    signal, event = heard
    assert (signal["request"].id, signal["request"].args, signal["terminated"]) == (result.id, [1], False)
    assert (event["uuid"], event["expired"], event["hostname"].partition("@")[0]) == (result.id, False, "turgor")


def drained(connection: Any) -> bool:
    with contextlib.suppress(TimeoutError):
        connection.drain_events(timeout=0.2)
    return True


def test_the_command_of_celery_reaches_waiting_work_and_says_so(proj: ModuleType, settings: AppSettings) -> None:
    result = waiting(proj)
    command = [sys.executable, "-m", "celery", "-A", "proj", "control", "--timeout", "0.2", "revoke", result.id]
    done = subprocess.run(command, env={**os.environ, **settings.environment}, capture_output=True, text=True, check=False)
    assert "turgor: OK" in done.stdout, done.stdout + done.stderr
    assert f"['{result.id}'] revoked while they waited" in done.stdout
    assert done.returncode == 0
    assert result.state == "REVOKED"


def test_a_revoke_for_certain_workers_leaves_what_waits_alone(proj: ModuleType) -> None:
    result = waiting(proj)
    proj.app.control.revoke(result.id, destination=["celery@elsewhere"])
    assert proj.turgor.explain(result.id).state is TaskState.WAITING


def test_a_running_task_is_the_workers_to_terminate(crew: Crew, tmp_path: Path) -> None:
    result = crew.proj.hold.delay(str(tmp_path / "open"))
    crew.start_of(result.id)
    result.revoke(terminate=True, signal="KILL")
    with pytest.raises(TaskRevokedError):
        result.get(timeout=10)
    crew.wait_until_idle()


def test_a_caller_that_dies_between_taking_out_and_telling_is_stood_in_for_by_a_dispatcher(
    proj: ModuleType, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = waiting(proj)
    with monkeypatch.context() as dying:
        dying.setattr("turgor.worker.revocation._tell", lambda *_: None)
        result.revoke()
    assert result.state == "PENDING"
    assert proj.turgor.dispatcher().run_once().expired == 1
    assert result.state == "REVOKED"
    assert not leftovers(redis_client, proj.turgor.keys.prefix)


def test_a_task_that_is_revoked_while_it_is_released_runs_or_is_revoked_but_never_both(crew: Crew) -> None:
    """Revokes race with releases and starts; whatever wins, the result says what happened."""
    results = [crew.proj.work.apply_async((0.05,), service="single") for _ in range(30)]
    for each in reversed(results):
        each.revoke()
    crew.wait_until_idle(timeout=30)
    crew.proj.single.delay().get(timeout=10)
    for each in results:
        ran = bool(crew.journal.ends(each.id))
        wait_until(lambda each=each: each.state in ("SUCCESS", "REVOKED"), description=f"{each.id} has ended")
        assert (each.state == "SUCCESS") == ran
    assert sum(each.state == "REVOKED" for each in results) > 15
