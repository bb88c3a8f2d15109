"""A released message runs once, in every pool: whoever shows an old fence, or the same one again, is dropped."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from crew import AppSettings, Crew
from support import wait_until
from turgor.scheduler.scheduler import HEADER_BYTES
from turgor.worker.claims import claim
from turgor.worker.envelope import fill


def envelope_of(crew: Crew, task_id: str, fence: int | None, tag: bytes) -> bytes:
    """A copy of the broker's message of a task that is here, under the given fence and delivery tag."""
    message: bytes = crew.client.hget(f"{crew.proj.turgor.keys.prefix}:message", task_id)
    return fill(message[HEADER_BYTES:], str(fence), tag.decode())


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


def test_a_claim_whose_answer_came_late_is_made_again(settings: AppSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start counts from its claim, so a date that is past when the worker hears of it is not good enough."""
    proj = settings.load()
    scheduler, ask = proj.turgor.scheduler, proj.turgor.scheduler.claim
    delays = [0.1, 0.0, 0.1]
    claimants: list[str] = []

    def slow_claim(task: str, fence: int, claimant: str) -> bool:
        claimants.append(claimant)
        granted = ask(task, fence, claimant)
        time.sleep(delays[len(claimants) - 1])  # the way of the answer
        return granted

    task_id = proj.call.delay(1).id
    monkeypatch.setattr(scheduler, "claim", slow_claim)
    assert claim(scheduler, task_id, 1)
    assert len(claimants) == 2
    assert len(set(claimants)) == 1
    assert not claim(scheduler, task_id, 1), "a refusal is not asked again, however late"
    assert len(claimants) == 3
