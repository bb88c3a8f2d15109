"""Turgor keeps its keys where the app's broker keeps its queues, however the broker's URL is written."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from redis import SSLConnection

from turgor.worker import Turgor, UnsupportedBroker


def connection_of(turgor: Turgor) -> dict[str, Any]:
    options = turgor.client.get_connection_kwargs()
    return {name: options.get(name) for name in ("host", "port", "db", "username", "password", "path") if options.get(name)}


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        ("redis://", {"host": "localhost", "port": 6379}),
        ("redis://localhost", {"host": "localhost", "port": 6379}),
        ("redis://localhost:6380/", {"host": "localhost", "port": 6380}),
        ("redis://localhost:6380/3", {"host": "localhost", "port": 6380, "db": 3}),
        ("redis://:secret@localhost/1", {"host": "localhost", "port": 6379, "db": 1, "password": "secret"}),
        (
            "redis://user:p%40s%2Fs@redis.example:6379/0",
            {"host": "redis.example", "port": 6379, "username": "user", "password": "p@s/s"},
        ),
        (
            "rediss://:secret@redis.example/2?ssl_cert_reqs=CERT_NONE",
            {"host": "redis.example", "port": 6379, "db": 2, "password": "secret"},
        ),
        ("redis+socket:///run/redis.sock", {"path": "/run/redis.sock"}),
        ("redis+socket:///run/redis.sock?virtual_host=4", {"path": "/run/redis.sock", "db": 4}),
        ("redis://[::1]:6379/1", {"host": "::1", "port": 6379, "db": 1}),
        ("redis://first:6379/1;redis://second:6379/1", {"host": "first", "port": 6379, "db": 1}),
    ],
)
def test_the_brokers_server_and_database_are_found(broker: str, expected: dict[str, Any]) -> None:
    assert connection_of(Turgor(Celery("app", broker=broker, set_as_current=False))) == expected


@pytest.mark.parametrize(
    "conf", [{"broker_write_url": "redis://written:1/2"}, {"broker_url": ["redis://written:1/2", "redis://other:1/2"]}]
)
def test_the_broker_that_is_written_to_counts(conf: dict[str, Any]) -> None:
    app = Celery("app", broker="redis://read:1/2", set_as_current=False)
    turgor = Turgor(app)
    app.conf.update(conf)
    assert connection_of(turgor) == {"host": "written", "port": 1, "db": 2}


@pytest.mark.parametrize("broker", ["sentinel://localhost:26379/0", "amqp://localhost//", "filesystem://", None])
def test_any_other_broker_is_unsupported(broker: str | None) -> None:
    with pytest.raises(UnsupportedBroker):
        Turgor(Celery("app", broker=broker, set_as_current=False)).url  # noqa: B018


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_encryption_is_as_the_app_configured_it(scheme: str) -> None:
    app = Celery("app", broker=f"{scheme}://localhost/0", set_as_current=False)
    app.conf.broker_use_ssl = {"ssl_ca_certs": "/etc/ca.pem", "ssl_cert_reqs": "required"}
    pool = Turgor(app).client.connection_pool
    assert pool.connection_class is SSLConnection
    assert pool.connection_kwargs["ssl_ca_certs"] == "/etc/ca.pem"
