"""Redis answers, but with errors: it is out of memory, or a replica for the moment of a failover. Who asked goes on asking."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from crew import AppSettings, Hire
from support import wait_until
from turgor.worker.attendant import Attendant

from .conftest import IMPATIENT, LIMIT, Supervise


def fill(client: Any) -> Callable[[], None]:
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    return lambda: client.config_set("maxmemory", 0)


def demote(client: Any) -> Callable[[], None]:
    client.replicaof("127.0.0.1", 1)
    return lambda: client.replicaof("NO", "ONE")


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(fill, id="out of memory"),
        pytest.param(demote, id="read-only"),
    ],
)
def test_dispatchers_and_workers_go_on_after_a_server_that_refused_to_write(
    settings: AppSettings, hire: Hire, supervise: Supervise, trouble: Callable[[Any], Callable[[], None]]
) -> None:
    crew = hire(settings.but(options={**IMPATIENT, "dispatcher": False}))
    supervise(crew)
    dispatcher = crew.proj.turgor.dispatcher()
    dispatcher.start()
    ids = [crew.proj.call.apply_async((n,), service="narrow").id for n in range(2 * LIMIT)]
    wait_until(crew.journal.starts, description="the first ones start")
    seconds = crew.client.time()[0]
    heal = trouble(crew.client)
    wait_until(lambda: crew.client.time()[0] >= seconds + 4, description="the server refuses for a while")
    heal()
    for task_id in ids:
        crew.start_of(task_id, timeout=30)
    crew.wait_until_idle(timeout=20)
    dispatcher.stop()


@pytest.mark.parametrize("trouble", [fill, demote], ids=["out of memory", "read-only"])
def test_an_attendant_goes_on_after_a_server_that_refused_to_write(
    settings: AppSettings, trouble: Callable[[Any], Callable[[], None]]
) -> None:
    turgor = settings.load().turgor
    attendant = Attendant(turgor, SimpleNamespace(hostname="worker@test", concurrency=1, max_concurrency=1))
    attendant.start()
    heal = trouble(turgor.client)
    seconds = turgor.client.time()[0]
    wait_until(lambda: turgor.client.time()[0] >= seconds + 2, description="the server refuses for a while")
    heal()
    turgor.client.delete(turgor.keys("workers:celery"))
    wait_until(lambda: turgor.client.exists(turgor.keys("workers:celery")), description="the attendant attends")
    attendant.stop()
