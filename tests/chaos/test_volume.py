"""Ten thousand tasks, half of them limited, through everything that Celery offers. Each runs once, with Celery's results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from celery import chain, chord, group
from celery.result import AsyncResult
from redis import Redis

from crew import AppSettings, Crew, Hire
from support import wait_until

from .conftest import most_in_a_window

PER_SECOND = 200
LIMITS = {"services": {"api": {"requests_per_second": PER_SECOND}, "single": {"max_in_flight": 1}}}

Expected = tuple[AsyncResult[Any], Any]


def singles(proj: Any, n: int) -> list[Expected]:
    """2 executions, 1 of them limited."""
    return [(proj.call.delay(n), n), (proj.free.delay(n), n)]


def chains(proj: Any, n: int) -> list[Expected]:
    """4, 2 limited."""
    return [(chain(proj.free.s(n), proj.call.s(), proj.free.s(), proj.add.s(1)).delay(), n + 1)]


def chords(proj: Any, n: int) -> list[Expected]:
    """8, 4 limited."""
    header = [task.s(n + i) for i in range(3) for task in (proj.call, proj.free)]
    return [(chord([*header, proj.free.s(0)], proj.total.s()).delay(), 6 * n + 6)]


def groups(proj: Any, n: int) -> list[Expected]:
    """8, 4 limited."""
    members = group(task.s(n) for _ in range(4) for task in (proj.call, proj.free)).delay()
    return [(member, n) for member in members.results]


def retries(proj: Any, n: int) -> list[Expected]:
    """8, 4 limited. Not at once: Celery notes RETRY after it has sent the retry, which may have succeeded by then."""
    limited = [(proj.flaky.apply_async((n,), {"failures": 1, "countdown": 0.2 * (n % 3 + 1)}), n) for _ in range(2)]
    return limited + [(proj.flaky_free_only.apply_async((n,), {"countdown": 0.2 * (n % 2 + 1)}), n) for _ in range(2)]


KINDS: list[Callable[[Any, int], list[Expected]]] = [singles, chains, chords, groups, retries]
IN_A_ROUND = 2 + 4 + 8 + 8 + 8
PRODUCERS = 2  # threads, as a web application has
ROUNDS = 10_000 // IN_A_ROUND // PRODUCERS + 1
EXECUTIONS = PRODUCERS * ROUNDS * IN_A_ROUND


def submit(proj: Any) -> Iterator[Expected]:
    for n in range(ROUNDS):
        for kind in KINDS:
            yield from kind(proj, n)


def results_of(crew: Crew, ids: list[str]) -> list[Any]:
    stored = crew.client.mget([f"celery-task-meta-{task_id}" for task_id in ids])
    return [json.loads(each)["result"] if each else None for each in stored]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ten_thousand_tasks_run_once_each_with_celerys_results(
    redis_client: Redis, server_url: str, tmp_path: Path, hire: Hire
) -> None:
    settings = AppSettings(server_url, tmp_path / "journal", LIMITS)
    crews = [hire(settings, pool=pool) for pool in ("prefork", "threads")]
    crew, journal = crews[0], crews[0].journal
    expected: list[Expected] = []
    producers = [Thread(target=lambda: expected.extend(submit(crew.proj))) for _ in range(PRODUCERS)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
    wait_until(lambda: len(journal.starts()) >= EXECUTIONS, description="all have started", timeout=120)
    crew.wait_until_idle(timeout=20)

    runs = Counter((start.id, start.retries, start.task) for start in journal.starts())
    assert {run: count for run, count in runs.items() if count > 1} == {}
    assert len(runs) == EXECUTIONS
    limited = [start for start in journal.starts() if start.fence is not None and start.headers["service"] == "api"]
    assert len(limited) == EXECUTIONS // 2
    ids = [result.id for result, _ in expected]
    wait_until(lambda: None not in results_of(crew, ids), description="all results are stored", timeout=20)
    assert results_of(crew, ids) == [value for _, value in expected]
    assert most_in_a_window(limited, 1) <= PER_SECOND
