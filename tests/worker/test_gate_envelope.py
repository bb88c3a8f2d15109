"""What reaches the broker is what plain Celery would have sent; what Turgor adds is listed here."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import takewhile
from types import ModuleType
from typing import Any

import pytest
from celery import signals
from redis import Redis

from crew import AppSettings

TASK_ID = "11111111-2222-4333-8444-555555555555"
TURGOR_HEADERS = ("turgor_fence", "loop", "loop_type", "priority", "service", "endpoint", "weight", "tokens")
FIXED = {"task_id": TASK_ID, "reply_to": "somebody"}

SERIALIZERS = [
    name
    for name, module in {"json": "json", "pickle": "pickle", "yaml": "yaml", "msgpack": "msgpack"}.items()
    if find_spec(module)
]
OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "arguments": {"args": (), "kwargs": {"value": "ü"}},
    **{name: {"args": ({"a": [1, 2.5, None, "ü\n"]},), "serializer": name} for name in SERIALIZERS},
    "gzip": {"args": ("x" * 2000,), "compression": "gzip"},
    "bzip2 of pickle": {"args": ("x" * 2000,), "compression": "bzip2", "serializer": "pickle"},
    "headers": {"headers": {"tenant": "acme", "nested": {"a": [1]}, "turgor_fence_like": "no"}},
    "expires": {"expires": datetime(2100, 1, 1, tzinfo=UTC)},
    "priority": {"priority": 3},
    "lowest priority": {"priority": 0},
    "time limits": {"time_limit": 10, "soft_time_limit": 5, "shadow": "alias", "ignore_result": True},
    "family": {"root_id": "root", "parent_id": "parent", "group_id": "group", "group_index": 4},
    "callbacks": {"link": "proj.free", "link_error": "proj.free"},
    "stamps": {"stamped_headers": ["stamp"], "stamp": "value"},
    "delivery mode": {"delivery_mode": 1},
    "reply to": {"reply_to": "somebody else"},
    "properties": {"user_id": "guest", "app_id": "test"},
}


@pytest.fixture
def plain(settings: AppSettings) -> ModuleType:
    return settings.but(plain=True).load()


@pytest.fixture
def proj(settings: AppSettings) -> ModuleType:
    return settings.load()


def sent(client: Redis, proj: ModuleType, task: str, options: dict[str, Any], queue: str = "celery") -> bytes:
    """What a publish puts on the broker's list."""
    options = {**FIXED, **options}
    for callback in {"link", "link_error"} & options.keys():
        options[callback] = proj.app.tasks[options[callback]].si().set(task_id=callback)
    proj.app.tasks[task].apply_async(**options)
    (key,) = client.keys(f"{queue}*")  # kombu has a list for each of some priorities
    (envelope,) = client.lrange(key, 0, -1)
    client.delete(key)
    return envelope


def without_tag(envelope: bytes) -> bytes:
    stripped, count = re.subn(rb'"delivery_tag": "[^"]+"', b"", envelope)
    assert count == 1
    return re.sub(rb'("expiration": "\d+)\d{5}"', rb"\1", stripped)  # in ms, from now


def parsed(envelope: bytes) -> dict[str, Any]:
    """An envelope without what is new at every release, and without Turgor's headers."""
    message = json.loads(envelope)
    assert message["properties"].pop("delivery_tag")
    if expiration := message["properties"].get("expiration"):  # in ms, from now
        message["properties"]["expiration"] = expiration[:-5]
    for name in TURGOR_HEADERS:
        message["headers"].pop(name, None)
    return message


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_unlimited_task_is_sent_byte_for_byte_as_celery_sends_it(
    redis_client: Redis, plain: ModuleType, proj: ModuleType, options: dict[str, Any]
) -> None:
    if "priority" in options:
        pytest.skip("a priority is kept in the headers, so that children inherit it")
    expected = sent(redis_client, plain, "proj.free", options)
    assert without_tag(sent(redis_client, proj, "proj.free", options)) == without_tag(expected)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_limited_task_is_released_as_celery_would_have_sent_it(
    redis_client: Redis, plain: ModuleType, proj: ModuleType, options: dict[str, Any]
) -> None:
    options = {"priority": 5, **options}
    expected = sent(redis_client, plain, "proj.call", options)
    released = sent(redis_client, proj, "proj.call", options)
    assert parsed(released) == parsed(expected)


def test_what_turgor_adds_are_headers(redis_client: Redis, proj: ModuleType) -> None:
    options = {"loop": "planner-7", "loop_type": "planner", "weight": 2, "tokens": 7, "priority": 9}
    message = json.loads(sent(redis_client, proj, "proj.mapped", options))
    added = {name: message["headers"][name] for name in TURGOR_HEADERS}
    assert isinstance(added.pop("turgor_fence"), int)
    assert added == {**options, "service": "api", "endpoint": "chat"}
    assert message["properties"]["priority"] == 9
    assert not {"loop", "loop_type", "weight", "tokens"} & message["properties"].keys()


def test_each_release_has_a_delivery_tag_of_its_own(redis_client: Redis, proj: ModuleType) -> None:
    for _ in range(20):
        proj.call.delay()
    tags = {json.loads(each)["properties"]["delivery_tag"] for each in redis_client.lrange("celery", 0, -1)}
    assert len(tags) == 20


def test_text_that_looks_like_a_hole_stays_as_it_is(redis_client: Redis, proj: ModuleType) -> None:
    value = 'a\0b "turgor_fence": "\\u0000" turgor-hole {turgor:default}:1 "delivery_tag": "x"'
    options = {"args": (value,), "headers": {"mine": value}, "shadow": value}
    message = json.loads(sent(redis_client, proj, "proj.call", options))
    assert json.loads(base64.b64decode(message["body"]))[0] == [value]
    assert message["headers"]["mine"] == message["headers"]["shadow"] == value


@pytest.mark.parametrize("task", ["proj.free", "proj.call"])
def test_an_eta_is_taken_out_and_kept_back(redis_client: Redis, plain: ModuleType, proj: ModuleType, task: str) -> None:
    options = {"eta": datetime(2020, 1, 1, tzinfo=UTC), "priority": 5}
    expected = parsed(sent(redis_client, plain, task, options))
    released = parsed(sent(redis_client, proj, task, options))
    assert expected["headers"].pop("eta") == "2020-01-01T00:00:00+00:00"
    assert released["headers"].pop("eta") is None
    assert released == expected


def test_a_delayed_task_without_a_priority_is_released_as_celery_would_have_sent_it(
    redis_client: Redis, plain: ModuleType, proj: ModuleType
) -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    released = parsed(sent(redis_client, proj, "proj.free", {"eta": past}))
    assert released == parsed(sent(redis_client, plain, "proj.free", {}))


@pytest.fixture
def heard() -> Iterator[list[tuple[str, str, Any]]]:
    """The publish signals: (signal, task, exchange and routing key)."""
    calls: list[tuple[str, str, Any]] = []

    def before(sender: Any = None, exchange: Any = None, routing_key: Any = None, **_: Any) -> None:
        calls.append(("before", sender, (exchange, routing_key)))

    def after(sender: Any = None, exchange: Any = None, routing_key: Any = None, **_: Any) -> None:
        calls.append(("after", sender, (exchange, routing_key)))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    yield calls
    signals.before_task_publish.disconnect(before)
    signals.after_task_publish.disconnect(after)


@pytest.mark.parametrize("task", ["proj.free", "proj.call", "proj.single"])
@pytest.mark.parametrize("countdown", [None, 60])
def test_the_publish_signals_are_sent_once(
    redis_client: Redis, proj: ModuleType, heard: list[Any], task: str, countdown: float | None
) -> None:
    proj.app.tasks[task].apply_async(countdown=countdown)
    assert heard == [("before", task, ("", "celery")), ("after", task, ("", "celery"))]


def test_what_before_task_publish_changes_is_what_is_sent(redis_client: Redis, proj: ModuleType) -> None:
    def change(headers: dict[str, Any], properties: dict[str, Any], **_: Any) -> None:
        headers["trace"] = "abc"
        properties["correlation"] = "def"

    signals.before_task_publish.connect(change)
    try:
        message = json.loads(sent(redis_client, proj, "proj.call", {}))
    finally:
        signals.before_task_publish.disconnect(change)
    assert (message["headers"]["trace"], message["properties"]["correlation"]) == ("abc", "def")


@pytest.mark.parametrize("task", ["proj.free", "proj.call"])
def test_the_sent_event_is_emitted_once(redis_client: Redis, settings: AppSettings, task: str) -> None:
    proj = settings.but(conf={"task_send_sent_event": True}).load()
    with redis_client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.psubscribe("*celeryev*")
        listener.get_message(timeout=5)
        result = proj.app.tasks[task].delay()
        redis_client.publish("end of celeryev", "")
        heard = list(takewhile(lambda message: message["channel"] != b"end of celeryev", listener.listen()))
    bodies = [json.loads(base64.b64decode(json.loads(message["data"])["body"])) for message in heard]
    events = [event for body in bodies for event in (body if isinstance(body, list) else [body])]
    assert [(event["type"], event["uuid"], event["name"], event["queue"]) for event in events] == [
        ("task-sent", result.id, task, "celery")
    ]
