"""However a task ends, its slot is free, its lease is gone, and what Celery promises about it holds.

Each of these tasks belongs to a service that admits one at a time. `crew` fails a test that leaves anything behind.
"""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from celery.exceptions import TaskRevokedError, TimeLimitExceeded, WorkerLostError
from kombu import compression

from crew import Crew
from support import wait_until


@pytest.fixture
def open_file(tmp_path: Path) -> Path:
    """What `hold` waits for."""
    return tmp_path / "open"


def assert_slot_is_free(crew: Crew) -> None:
    assert crew.proj.single.delay("next").get(timeout=15) == "next"


def test_a_task_that_returns(any_crew: Crew) -> None:
    assert any_crew.proj.single.delay(1).get(timeout=10) == 1
    assert_slot_is_free(any_crew)


def test_a_task_that_raises(any_crew: Crew) -> None:
    with pytest.raises(ValueError, match="on purpose"):
        any_crew.proj.failing.delay().get(timeout=10)
    assert_slot_is_free(any_crew)


def test_a_task_that_is_ignored(any_crew: Crew) -> None:
    result = any_crew.proj.ignored.delay()
    any_crew.start_of(result.id)
    any_crew.wait_until_idle()
    assert result.state == "PENDING"
    assert_slot_is_free(any_crew)


def test_a_task_that_rejects_its_message_for_good(any_crew: Crew, tmp_path: Path) -> None:
    result = any_crew.proj.rejected.delay(str(tmp_path / "marker"), requeue=False)
    any_crew.start_of(result.id)
    any_crew.wait_until_idle()
    assert len(any_crew.journal.starts(result.id)) == 1
    assert_slot_is_free(any_crew)


def test_a_task_that_rejects_its_message_to_have_it_again_runs_again_under_a_new_fence(any_crew: Crew, tmp_path: Path) -> None:
    result = any_crew.proj.rejected.delay(str(tmp_path / "marker"))
    assert result.get(timeout=10) == "done"
    first, second = any_crew.journal.starts(result.id)
    assert first.fence != second.fence
    assert_slot_is_free(any_crew)


def test_a_task_that_no_worker_knows(any_crew: Crew) -> None:
    any_crew.proj.app.send_task("elsewhere.unknown")
    wait_until(lambda: "elsewhere.unknown" in any_crew.worker.log, description="the worker says that it does not know the task")


def test_a_task_in_a_serializer_that_the_worker_does_not_accept(any_crew: Crew) -> None:
    value = str(uuid4())
    any_crew.proj.single.apply_async((value,), serializer="pickle")
    wait_until(lambda: value in any_crew.worker.log, description="the worker says that it does not take the message")
    assert_slot_is_free(any_crew)


def test_a_task_in_a_compression_that_the_worker_does_not_know(any_crew: Crew) -> None:
    compression.register(bytes, bytes, "application/x-turgor-test", aliases=["turgor-test"])
    result = any_crew.proj.single.apply_async(compression="turgor-test")
    wait_until(lambda: result.id in any_crew.worker.log, description="the worker says that it cannot read the message")
    assert_slot_is_free(any_crew)


def test_a_task_with_arguments_that_it_does_not_take(any_crew: Crew) -> None:
    result = any_crew.proj.app.send_task("proj.single", (1, 2, 3))
    with pytest.raises(TypeError):
        result.get(timeout=10)
    assert_slot_is_free(any_crew)


def test_a_task_that_runs_into_its_hard_time_limit(crew: Crew, open_file: Path) -> None:
    with pytest.raises(TimeLimitExceeded):
        crew.proj.limited_hold.delay(str(open_file)).get(timeout=20)
    assert_slot_is_free(crew)


def test_a_task_that_runs_into_its_hard_time_limit_and_wants_its_message_back(crew: Crew, tmp_path: Path) -> None:
    result = crew.proj.slow_late.delay(str(tmp_path / "marker"))
    # Asked anew each time: a result remembers its first end, and that was the time limit.
    wait_until(
        lambda: crew.proj.app.AsyncResult(result.id).state == "SUCCESS",
        description="the task runs again and succeeds",
        timeout=20,
    )
    assert len(crew.journal.starts(result.id)) == 2
    assert_slot_is_free(crew)


def test_a_task_whose_process_is_killed(crew: Crew, open_file: Path) -> None:
    result = crew.proj.hold.delay(str(open_file))
    os.kill(crew.start_of(result.id).pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError):
        result.get(timeout=20)
    assert_slot_is_free(crew)
    assert len(crew.journal.starts(result.id)) == 1


def test_a_task_whose_process_is_killed_and_that_wants_its_message_back(crew: Crew, open_file: Path) -> None:
    result = crew.proj.hold_late.delay(str(open_file), "ran")
    first = crew.start_of(result.id)
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: len(crew.journal.starts(result.id)) == 2, description="the task runs again", timeout=20)
    open_file.touch()
    assert result.get(timeout=10) == "ran"
    assert [start.fence == first.fence for start in crew.journal.starts(result.id)] == [True, False]
    assert_slot_is_free(crew)


@pytest.mark.parametrize("any_crew", ["prefork", "threads"], indirect=True)  # a solo worker hears nothing while a task runs
def test_a_task_that_is_revoked_while_it_waits_for_its_slot(any_crew: Crew, open_file: Path) -> None:
    crew = any_crew
    running = crew.proj.hold.delay(str(open_file), "ran")
    crew.start_of(running.id)
    waiting = crew.proj.single.delay()
    crew.proj.app.control.revoke(waiting.id)
    open_file.touch()
    assert running.get(timeout=10) == "ran"
    with pytest.raises(TaskRevokedError):
        waiting.get(timeout=10)
    assert not crew.journal.starts(waiting.id)
    assert_slot_is_free(crew)


def test_a_task_that_is_terminated_while_it_runs(crew: Crew, open_file: Path) -> None:
    result = crew.proj.hold.delay(str(open_file))
    crew.start_of(result.id)
    crew.proj.app.control.revoke(result.id, terminate=True)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=10)
    assert len(crew.journal.starts(result.id)) == 1
    assert_slot_is_free(crew)


def test_a_task_that_expires_while_it_waits(any_crew: Crew, open_file: Path) -> None:
    crew = any_crew
    running = crew.proj.hold.delay(str(open_file))
    crew.start_of(running.id)
    expires = datetime.now(UTC) + timedelta(seconds=0.3)
    waiting = crew.proj.single.apply_async(expires=expires)
    wait_until(lambda: datetime.now(UTC) > expires, description="the task expires")
    open_file.touch()
    with pytest.raises(TaskRevokedError):
        waiting.get(timeout=10)
    assert not crew.journal.starts(waiting.id)
    assert_slot_is_free(crew)
