"""What the gate refuses, it refuses at once, says why, and stores nothing."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from kombu.exceptions import EncodeError, OperationalError
from redis import Redis

from crew import AppSettings, leftovers
from support import free_port
from turgor.limits.errors import CostTooLarge, UnknownService
from turgor.worker.errors import UnroutableTask, UnsupportedBroker, UnsupportedProtocol

QUEUES = [
    ("celery", "celery", "direct", "celery"),
    ("left", "sports", "topic", "sports.*"),
    ("right", "sports", "topic", "*.tennis"),
    ("everyone", "", "broadcast", ""),
]


@pytest.fixture
def proj(settings: AppSettings) -> ModuleType:
    return settings.load()


@contextmanager
def nothing_stored(client: Redis, prefix: str = "{turgor:default}") -> Generator[None]:
    yield
    assert not leftovers(client, prefix)
    assert not client.keys("celery*")


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        ("priority", 10, "give a whole number from 0 to 9, higher first"),
        ("priority", -1, "give a whole number from 0 to 9, higher first"),
        ("priority", "high", "give a whole number from 0 to 9, higher first"),
        ("priority", 5.0, "give a whole number from 0 to 9, higher first"),
        ("priority", True, "give a whole number from 0 to 9, higher first"),
        ("weight", 0, "give a whole number of at least 1"),
        ("weight", -1, "give a whole number of at least 1"),
        ("weight", 1.5, "give a whole number of at least 1"),
        ("weight", True, "give a whole number of at least 1"),
        ("tokens", -1, "give a whole number of at least 0"),
        ("tokens", "12", "give a whole number of at least 0"),
    ],
)
def test_a_number_that_an_option_cannot_have_is_named_with_its_remedy(
    redis_client: Redis, proj: ModuleType, option: str, value: Any, remedy: str
) -> None:
    with nothing_stored(redis_client), pytest.raises(ValueError, match=f"{option}={value!r}: {remedy}"):
        proj.call.apply_async((1,), **{option: value})


@pytest.mark.parametrize("max_wait", [-1, 0, "soon", float("nan"), float("inf"), True])
def test_a_wait_that_cannot_be_is_refused(redis_client: Redis, proj: ModuleType, max_wait: Any) -> None:
    with nothing_stored(redis_client), pytest.raises(ValueError, match="max_wait"):
        proj.call.apply_async((1,), max_wait=max_wait)


@pytest.mark.parametrize("option", ["service", "endpoint", "loop", "loop_type"])
@pytest.mark.parametrize("value", ["a\0b", "a\x1fb", "\x1e", "x" * 201, 7, ["a"], "\ud800"])
def test_a_name_that_an_option_cannot_have_is_refused(redis_client: Redis, proj: ModuleType, option: str, value: Any) -> None:
    with nothing_stored(redis_client), pytest.raises((ValueError, UnknownService), match=option):
        proj.call.apply_async((1,), **{option: value})


def test_an_unknown_service_is_answered_with_the_known_ones(redis_client: Redis, proj: ModuleType) -> None:
    with nothing_stored(redis_client), pytest.raises(UnknownService) as caught:
        proj.call.apply_async((1,), service="apy")
    known = ", ".join(proj.turgor.view.config().services)
    message = f"task 'proj.call': unknown service 'apy'. Did you mean 'api'? Known: {known}"
    assert str(caught.value) == message


def test_arguments_that_cannot_be_serialised_give_celerys_own_error(redis_client: Redis, proj: ModuleType) -> None:
    with nothing_stored(redis_client), pytest.raises(EncodeError):
        proj.call.delay(object())


def test_a_header_that_cannot_be_serialised_stores_nothing(redis_client: Redis, settings: AppSettings, proj: ModuleType) -> None:
    plain = settings.but(plain=True).load()
    with pytest.raises(Exception) as expected:  # noqa: PT011  whatever plain Celery raises
        plain.call.apply_async((1,), headers={"mine": object()})
    with nothing_stored(redis_client), pytest.raises(expected.type):
        proj.call.apply_async((1,), headers={"mine": object()})


def test_a_task_that_costs_more_than_a_limit_ever_holds_is_refused(redis_client: Redis, proj: ModuleType) -> None:
    with nothing_stored(redis_client), pytest.raises(CostTooLarge) as caught:
        proj.call.apply_async((1,), service="narrow", weight=6)
    assert (caught.value.cost, caught.value.capacity, caught.value.binding) == (6, 5, "service:narrow requests/1s")
    with nothing_stored(redis_client), pytest.raises(CostTooLarge, match=r"costs 1001, but service:small tokens/1m never"):
        proj.call.apply_async((1,), service="small", tokens=1001)


def test_a_limited_task_for_everyone_is_unroutable(redis_client: Redis, settings: AppSettings) -> None:
    proj = settings.but(queues=QUEUES).load()
    with nothing_stored(redis_client), pytest.raises(UnroutableTask, match="a queue of its own"):
        proj.call.apply_async((1,), queue="everyone")


def test_a_limited_task_for_two_queues_is_unroutable(redis_client: Redis, settings: AppSettings, realm: str) -> None:
    proj = settings.but(queues=QUEUES, conf={"broker_transport_options": {"shared_within": realm}}).load()
    with proj.app.connection_for_write() as connection:
        for name in ("left", "right"):
            proj.app.amqp.queues[name](connection.default_channel).declare()
    with nothing_stored(redis_client), pytest.raises(UnroutableTask, match="leads to left, right queues"):
        proj.call.apply_async((1,), queue="left", exchange="sports", routing_key="sports.tennis")


@pytest.mark.parametrize("url", ["amqp://guest:secret@localhost//", "memory://"])
def test_a_broker_that_is_not_redis_is_named_without_its_password(settings: AppSettings, url: str) -> None:
    proj = settings.but(broker=url, backend=settings.broker).load()
    with pytest.raises(UnsupportedBroker) as caught:
        proj.call.delay()
    assert str(caught.value).startswith(
        f"broker {url.partition(':')[0]}://: work waits in Redis or Valkey, and the broker is neither"
    )
    assert "secret" not in str(caught.value)


def test_the_old_message_protocol_is_refused(redis_client: Redis, settings: AppSettings) -> None:
    proj = settings.but(conf={"task_protocol": 1}).load()
    with nothing_stored(redis_client), pytest.raises(UnsupportedProtocol):
        proj.call.delay()


@pytest.mark.parametrize(
    "limits", [None, {"services": {"api": {"requests_per_second": 5}}}], ids=["realm's limits", "own limits"]
)
@pytest.mark.parametrize("task", ["proj.call", "proj.free"])
def test_no_redis_is_celerys_own_error_after_its_publish_policy_and_names_the_url(
    settings: AppSettings, limits: Any, task: str
) -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    policy = {"max_retries": 2, "interval_start": 0.1, "interval_step": 0, "interval_max": 0.1}
    proj = settings.but(broker=url, limits=limits, conf={"task_publish_retry_policy": policy, "task_ignore_result": True}).load()
    began = time.monotonic()
    with pytest.raises(OperationalError) as caught:
        proj.app.tasks[task].delay()
    assert time.monotonic() - began < 10
    if task == "proj.call":
        assert f"redis://:***@127.0.0.1:{url.rpartition(':')[2]}" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_redis_and_no_retry_fails_fast(settings: AppSettings) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    proj = settings.but(broker=url, conf={"task_ignore_result": True}).load()
    began = time.monotonic()
    with pytest.raises(OperationalError, match=url):
        proj.call.apply_async((1,), retry=False)
    assert time.monotonic() - began < 5
