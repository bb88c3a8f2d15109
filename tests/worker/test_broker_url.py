"""Turgor keeps its keys where the app's broker keeps its queues, however the broker's URL is written."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from celery import Celery
from redis import SSLConnection

from turgor.worker import InvalidRedisUrl, Turgor, UnsupportedBroker


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


OTHERS = ["sentinel://localhost:26379/0", "amqp://localhost//", "filesystem://", None]


@pytest.mark.parametrize("broker", OTHERS)
def test_with_any_other_broker_turgor_must_be_told_where_work_waits(broker: str | None) -> None:
    with pytest.raises(UnsupportedBroker, match=r"Say where: Turgor\(app, redis='redis://localhost:6379/0'\)"):
        Turgor(Celery("app", broker=broker, set_as_current=False)).url  # noqa: B018


@pytest.mark.parametrize("broker", [*OTHERS, "redis://localhost/2", "redis://other/1", "redis+socket:///run/redis.sock"])
def test_a_broker_elsewhere_has_a_publisher_and_its_queues_are_in_the_outbox(broker: str | None) -> None:
    turgor = Turgor(Celery("app", broker=broker, set_as_current=False), redis="redis://:secret@localhost/1")
    assert connection_of(turgor) == {"host": "localhost", "port": 6379, "db": 1, "password": "secret"}
    assert turgor.publisher() is not None
    assert turgor.broker_key("celery") == "{turgor:default}:outbox:celery"


@pytest.mark.parametrize(
    ("broker", "redis"),
    [
        ("redis://:secret@localhost:6379/1", "redis://localhost/1"),
        ("redis://", "redis://localhost:6379/0"),
        ("redis://localhost/1", "valkey://localhost:6379/1"),
        ("redis+socket:///run/redis.sock?virtual_host=4", "unix:///run/redis.sock?db=4"),
    ],
)
def test_a_broker_in_the_same_database_is_none_elsewhere_however_it_is_written(broker: str, redis: str) -> None:
    turgor = Turgor(Celery("app", broker=broker, set_as_current=False), redis=redis)
    assert turgor.publisher() is None
    assert turgor.broker_key("celery") == "celery"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("amqp://user:secret@localhost//", "it is no Redis or Valkey"),
        ("localhost:6379", "it is no Redis or Valkey"),
        ("sentinel://localhost:26379/0", "it is no Redis or Valkey"),
        ("redis://localhost:port/0", ""),
    ],
)
def test_where_no_work_can_wait_is_said_at_once(url: str, reason: str) -> None:
    with pytest.raises(InvalidRedisUrl, match=rf"^redis='.*': {reason}.*Give a URL such as redis://localhost:6379/0") as caught:
        Turgor(Celery("app", broker="amqp://", set_as_current=False), redis=url)
    assert "secret" not in str(caught.value)


def test_a_pool_process_that_is_spawned_knows_where_work_waits() -> None:
    app = Celery("app", broker="amqp://", set_as_current=False)
    Turgor(app, redis="redis://localhost/1")
    copy = pickle.loads(pickle.dumps(app))
    assert copy.amqp
    assert copy.turgor.url == "redis://localhost:6379/1"


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_encryption_is_as_the_app_configured_it(scheme: str) -> None:
    app = Celery("app", broker=f"{scheme}://localhost/0", set_as_current=False)
    app.conf.broker_use_ssl = {"ssl_ca_certs": "/etc/ca.pem", "ssl_cert_reqs": "required"}
    pool = Turgor(app).client.connection_pool
    assert pool.connection_class is SSLConnection
    assert pool.connection_kwargs["ssl_ca_certs"] == "/etc/ca.pem"
