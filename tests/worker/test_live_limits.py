"""Limits change while work waits, and the work follows: real workers, real dispatchers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from crew import AppSettings, Crew, Hire
from support import wait_until
from turgor.worker import TaskState
from turgor.worker.commands import turgor as command

HOURLY: dict[str, Any] = {"services": {"api": {"requests_per_hour": 5}, "git": {"requests_per_hour": 1}}}


@pytest.fixture
def settings(settings: AppSettings) -> AppSettings:
    return settings.but(limits=HOURLY)


def limits(crew: Crew, *arguments: str) -> str:
    result = CliRunner().invoke(command, ["limits", *arguments], obj=SimpleNamespace(app=crew.proj.app))
    assert result.exit_code == 0, result.output
    return result.output


def await_starts(crew: Crew, count: int) -> list[float]:
    """When each of `count` tasks started, the first one first."""
    wait_until(lambda: len(crew.journal.starts()) >= count, description=f"{count} tasks start", timeout=20)
    return sorted(start.at for start in crew.journal.starts())


def assert_that_no_more_start(crew: Crew, count: int) -> None:
    """Until the dispatchers have been asked three more times, with what is in force."""
    for _ in range(3):
        crew.proj.turgor.dispatcher().run_once()
    unclaimed = crew.proj.turgor.keys("unclaimed")
    wait_until(lambda: not crew.client.exists(unclaimed), description="all that was released has started")
    assert len(crew.journal.starts()) == count


def test_two_hundred_that_wait_flow_when_the_limit_is_raised_and_the_next_ones_wait_when_it_is_lowered(
    settings: AppSettings, hire: Hire
) -> None:
    crew = hire(settings)
    results = [crew.proj.call.delay(number) for number in range(200)]
    await_starts(crew, 5)
    assert_that_no_more_start(crew, 5)

    limits(crew, "set", "service:api", "requests_per_hour=1000")
    applied_at = crew.proj.turgor.limits_history(1)[0].at.timestamp()
    starts = await_starts(crew, 200)
    assert starts[5] - applied_at < 2, "the first that waited followed at once (a second, and one for a busy machine)"
    assert [result.get(timeout=10) for result in results] == list(range(200))

    limits(crew, "set", "service:api", "requests_per_hour=203")
    more = [crew.proj.call.delay(number) for number in range(10)]
    await_starts(crew, 203)
    assert_that_no_more_start(crew, 203)
    explained = crew.proj.turgor.explain(more[-1].id)
    assert (explained.state, explained.held_by) == (TaskState.WAITING, "service:api requests/1h")

    limits(crew, "set", "service:api", "requests_per_hour=none")
    assert [result.get(timeout=10) for result in more] == list(range(10))
    crew.wait_until_idle()


def test_what_waits_for_a_service_that_vanishes_flows(settings: AppSettings, hire: Hire) -> None:
    crew = hire(settings)
    results = [crew.proj.call.apply_async((number,), service="git") for number in range(20)]
    await_starts(crew, 1)
    limits(crew, "set", "service:git", "--remove")
    assert [result.get(timeout=10) for result in results] == list(range(20))
    crew.wait_until_idle()


def test_what_waits_flows_when_every_limit_is_gone(settings: AppSettings, hire: Hire) -> None:
    crew = hire(settings)
    results = [crew.proj.call.delay(number) for number in range(20)]
    await_starts(crew, 5)
    crew.proj.turgor.apply_limits({})
    assert [result.get(timeout=10) for result in results] == list(range(20))
    crew.wait_until_idle()


def test_a_worker_that_starts_again_leaves_what_was_set(settings: AppSettings, hire: Hire) -> None:
    crew = hire(settings)
    limits(crew, "set", "service:api", "requests_per_hour=7")
    crew.worker.stop()
    again = hire(settings)
    for number in range(10):
        again.proj.call.delay(number)
    await_starts(again, 7)
    assert_that_no_more_start(again, 7)
    assert [each.version for each in again.proj.turgor.limits_history()] == [2, 1]
    limits(again, "set", "service:api", "requests_per_hour=10")
    await_starts(again, 10)
    again.wait_until_idle()
