"""A released message runs once, in every pool: whoever shows an old fence, or the same one again, is dropped."""

from __future__ import annotations

from pathlib import Path

from crew import Crew
from support import wait_until
from turgor.worker.envelope import fill


def envelope_of(crew: Crew, task_id: str, fence: int | None, tag: bytes) -> bytes:
    """A copy of the broker's message of a task that is here, under the given fence and delivery tag."""
    message: bytes = crew.client.hget(f"{crew.proj.turgor.keys.prefix}:message", task_id)
    return fill(message[8:], str(fence), tag.decode())


def drops(crew: Crew, task_id: str) -> int:
    return crew.worker.log.count(f"[{task_id}] is a stale copy")


def test_copies_of_a_message_that_runs_do_not_run(any_crew: Crew, tmp_path: Path) -> None:
    crew, open_file = any_crew, tmp_path / "open"
    task_id = crew.proj.hold.delay(str(open_file)).id
    start = crew.start_of(task_id)
    for tag in (b"copy-1", b"copy-2"):
        crew.client.lpush("celery", envelope_of(crew, task_id, start.fence, tag))
    open_file.touch()
    wait_until(lambda: drops(crew, task_id) == 2, description="both copies are dropped")
    assert len(crew.journal.starts(task_id)) == 1
