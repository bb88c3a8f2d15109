"""A breaker with real workers: failures open it, work waits in its lanes, a probe closes it again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from celery.app.trace import TraceInfo
from celery.exceptions import Retry, TimeLimitExceeded
from click.testing import CliRunner
from redis import Redis

from crew import AppSettings, Hire
from support import wait_until
from turgor.limits import Circuit
from turgor.limits.outcome import Outcome
from turgor.worker import Throttled
from turgor.worker.commands import turgor as group
from turgor.worker.outcome import outcome_of

BREAKER: dict[str, Any] = {"minimum_calls": 3, "cool_down": "2s", "probes": 1, "ramp": "100ms"}
LIMITS: dict[str, Any] = {"services": {"single": {"max_in_flight": 4, "breaker": BREAKER}}}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_failures_open_the_breaker_and_a_probe_closes_it(settings: AppSettings, hire: Hire, pool: str) -> None:
    crew = hire(settings.but(limits=LIMITS), pool=pool)
    turgor = crew.proj.turgor
    for result in [crew.proj.failing.delay() for _ in range(3)]:
        with pytest.raises(ValueError, match="on purpose"):
            result.get(timeout=15)
    wait_until(lambda: turgor.health("single").circuit is Circuit.OPEN, description="the breaker is open")

    waiting = [crew.proj.single.delay(number) for number in range(5)]
    held = turgor.explain(waiting[0].id)

    assert held.held_by == "service:single breaker"
    assert 0 < held.opens_in_s <= 2.0
    assert [result.state for result in waiting] == ["PENDING"] * 5
    assert [result.get(timeout=20) for result in waiting] == [0, 1, 2, 3, 4]
    assert turgor.health("single").circuit is Circuit.CLOSED
    probe, *followers = [crew.journal.starts(result.id)[0].at for result in waiting]
    assert min(followers) >= probe
    assert all(len(crew.journal.starts(result.id)) == 1 for result in waiting)
    assert [each.after for each in turgor.transitions()] == [Circuit.CLOSED, Circuit.HALF_OPEN, Circuit.OPEN]
    crew.wait_until_idle()


def test_a_hard_time_limit_counts_as_a_failure(settings: AppSettings, hire: Hire, tmp_path: Path) -> None:
    once = {"services": {"single": {"max_in_flight": 4, "breaker": {**BREAKER, "minimum_calls": 1}}}}
    crew = hire(settings.but(limits=once))
    with pytest.raises(TimeLimitExceeded):
        crew.proj.limited_hold.delay(str(tmp_path / "never")).get(timeout=20)

    wait_until(crew.proj.turgor.transitions, description="the breaker has opened")


def test_status_names_a_service_whose_breaker_is_open(redis_client: Redis, settings: AppSettings) -> None:
    proj = settings.but(limits=LIMITS).load()
    shown = CliRunner().invoke(group, ["status"], obj=proj, catch_exceptions=False).output.splitlines()
    assert len(shown) == 1, "who is well is not named"
    for _ in range(3):
        proj.turgor.limiter.acquire(service="single").failed()

    shown = CliRunner().invoke(group, ["status"], obj=proj, catch_exceptions=False).output.splitlines()

    assert re.fullmatch(r"service:single: breaker open, since .* UTC, probes in [12]\.\d s", shown[1])


@pytest.mark.parametrize(
    ("info", "outcome"),
    [
        (None, Outcome.OK),
        (TraceInfo("FAILURE", ValueError()), Outcome.FAILED),
        (TraceInfo("RETRY", Retry(exc=ConnectionError())), Outcome.FAILED),
        (TraceInfo("RETRY", Retry()), Outcome.OPEN),
        (TraceInfo("IGNORED", Throttled()), Outcome.OPEN),
        (TraceInfo("REJECTED"), Outcome.OPEN),
    ],
)
def test_what_the_end_of_a_task_says_of_its_service(info: TraceInfo | None, outcome: Outcome) -> None:
    assert outcome_of(info) is outcome
