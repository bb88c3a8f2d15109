"""The servers that every room's tests share.

A test that asks for `server_url` or `redis_client` runs on an embedded Valkey, one per test process. Where
TURGOR_TEST_REDIS_URL names real servers (their URLs, one for each test process, with spaces between), it runs there as
well, marked `redis`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import _state as celery_state
from hypothesis import settings
from redis import Redis

from brokers import BrokerQueue
from crew import AppSettings, Crew, Hire, dismiss
from support import start_embedded_server

OPTIONAL_SUITES = {
    "redis": "TURGOR_TEST_REDIS_URL",
    "rabbitmq": "TURGOR_TEST_AMQP_URL",
    "postgres": "TURGOR_TEST_POSTGRES_URL",
    "chromium": "TURGOR_TEST_CHROMIUM",
    "readme": "TURGOR_TEST_README",
}
MISSING = {
    suite: f"{suite}: set {variable} to run" for suite, variable in OPTIONAL_SUITES.items() if not os.environ.get(variable)
}

# The machine that runs all tests at once is slow at random; pytest-timeout ends what hangs.
settings.register_profile("turgor", deadline=None)
settings.load_profile("turgor")


def pytest_report_header() -> list[str]:
    return [f"skipped {reason}" for reason in MISSING.values()]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for suite in MISSING.keys() & {mark.name for mark in item.iter_markers()}:
            item.add_marker(pytest.mark.skip(reason=MISSING[suite]))


@pytest.fixture(autouse=True)
def tasks_stay_in_their_test() -> Iterator[None]:
    """Celery gives every app of the process the tasks of all others, so a document's `proj.complete` would reach other tests."""
    finalizers: set[Any] = vars(celery_state)["_on_app_finalizers"]
    known = finalizers.copy()
    yield
    finalizers &= known


def own_server(urls: str) -> str:
    """The URL of the server that belongs to this test process; of a database of it where processes outnumber servers."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    servers = urls.split()
    database, position = divmod(number, len(servers))
    return urlsplit(servers[position])._replace(path=f"/{database}").geturl()


def own_broker(urls: str) -> str:
    """The URL of the RabbitMQ, or of the virtual host of it, that belongs to this test process."""
    brokers = urls.split()
    return brokers[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % len(brokers)]


SERVERS = ["embedded"] if "redis" in MISSING else ["embedded", pytest.param("redis", marks=pytest.mark.redis)]


@pytest.fixture(scope="session", params=SERVERS)
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "redis":
        yield own_server(os.environ[OPTIONAL_SUITES["redis"]])
        return
    server = start_embedded_server()
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()


@pytest.fixture
def redis_client(server_url: str) -> Iterator[Redis]:
    """A client that gives bytes, on an empty database."""
    with Redis.from_url(server_url) as client:
        client.flushdb()
        yield client


@pytest.fixture(scope="session")
def another_redis() -> Iterator[str]:
    """URL of a second server, where nothing of Turgor's is."""
    server = start_embedded_server()
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()


@pytest.fixture
def broker_kind(request: pytest.FixtureRequest) -> str:
    """Where the broker is; see `brokers`. The same Redis, unless the test is parametrized."""
    return getattr(request, "param", "same redis")


@pytest.fixture
def broker_elsewhere(request: pytest.FixtureRequest, broker_kind: str) -> BrokerQueue | None:
    """The broker's queue, empty; None if it is in the Redis where Turgor works."""
    if broker_kind == "same redis":
        return None
    is_rabbitmq = broker_kind == "rabbitmq"
    url: str = own_broker(os.environ[OPTIONAL_SUITES["rabbitmq"]]) if is_rabbitmq else request.getfixturevalue("another_redis")
    queue = BrokerQueue(url)
    queue.purge()
    return queue


@pytest.fixture
def realm() -> str:
    """A realm that no other test uses."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
def hire(tmp_path: Path) -> Iterator[Hire]:
    """Start a worker of the test's own: `hire(settings, **options of CeleryWorker)`."""
    crews: list[Crew] = []

    def start(settings: AppSettings, **options: Any) -> Crew:
        name = options.setdefault("name", f"worker{len(crews)}")
        crew = Crew.of(settings, tmp_path / f"{name}.log", **options)
        crews.append(crew)
        crew.worker.start()
        return crew

    yield start
    dismiss(crews)
