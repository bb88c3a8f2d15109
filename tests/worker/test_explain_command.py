"""`turgor explain`, for people and for programs."""

from __future__ import annotations

import json
import re
from types import ModuleType

import pytest
from click.testing import CliRunner
from redis import Redis

from crew import AppSettings
from turgor.worker.commands import turgor as group


@pytest.fixture
def proj(redis_client: Redis, settings: AppSettings) -> ModuleType:
    return settings.but(limits={"services": {"api": {"requests_per_hour": 1}, "other": {}}}).load()


def explained(proj: ModuleType, *arguments: str) -> str:
    return CliRunner().invoke(group, ["explain", *arguments], obj=proj, catch_exceptions=False).output


def test_a_waiting_task_is_explained_with_its_expected_start(proj: ModuleType) -> None:
    _, _, last = (proj.call.delay(number) for number in range(3))
    text = explained(proj, last.id)
    assert text.startswith(f"{last.id}: waiting, 1 ahead in its lane, held by service:api requests/1h, which opens in 3600.0 s")
    assert text.endswith("; expected to start in 7200.0 s\n")


def test_what_has_held_its_lane_before_is_told(proj: ModuleType) -> None:
    proj.turgor.scheduler.attend("w", {"celery": 1})
    _, waiting = (proj.call.apply_async((number,), service="other") for number in range(2))
    assert "held by" not in explained(proj, waiting.id).partition("\n")[2]
    proj.turgor.pause("service:other")
    first, second = explained(proj, waiting.id).splitlines()
    assert "held until it is resumed: service:other paused" in first
    assert re.fullmatch(r"  its lane was held by queue:celery requests \d\.\d s ago", second)


def test_the_same_as_json(proj: ModuleType) -> None:
    proj.turgor.pause("service:api")
    result = proj.call.delay()
    found = json.loads(explained(proj, result.id, "--json"))
    (held,) = found.pop("history")
    assert held["by"] == "service:api requests"
    assert found == {
        "task": result.id,
        "state": "waiting",
        "ahead": 0,
        "held_by": "service:api paused",
        "opens_in_s": None,
        "expected_in_s": None,
        "reserved_for": None,
    }
