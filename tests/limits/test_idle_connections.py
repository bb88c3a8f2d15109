"""A connection that stays with the limiters is as safe as one that the pool lends: never shared, never stale, never too many."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
import redis
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from limit_calls import new_scope
from turgor.limits import Limiter
from turgor.limits.idle_connections import MOST, SHARE, IdleConnections
from turgor.limits.server import connect

MANY = 1_000_000


@pytest.fixture
def client(server_url: str) -> Iterator[Redis]:
    """A client that does not try again, so that nothing hides behind a second attempt."""
    with connect(server_url, retry=Retry(NoBackoff(), 0)) as client:
        yield client


def limiter_of(client: Redis, requests: int = MANY) -> Limiter:
    return Limiter(client, new_scope(), requests_per_hour=requests)


def idle(client: Redis) -> int:
    return len(IdleConnections.of(client.connection_pool))


def ids_of_connections(client: Redis) -> set[str]:
    return {each["id"] for each in client.client_list(_type="normal")}


def test_one_caller_uses_one_connection(client: Redis) -> None:
    limiters = [limiter_of(client) for _ in range(20)]

    assert all(limiter.try_consume() for limiter in limiters for _ in range(3))

    assert idle(client) == 1
    assert client.connection_pool.get_connection_count()[1][0] == 1


def test_threads_that_share_a_limiter_never_share_a_connection(client: Redis) -> None:
    mine, limit = limiter_of(client, 1_000), limiter_of(client)

    def ask(number: int) -> bool:
        # A reply that went to another thread would have the other limit's numbers.
        assert limit.check_and_consume().remaining > 1_000
        return mine.try_consume()

    with ThreadPoolExecutor(16) as pool:
        admitted = sum(pool.map(ask, range(1_200)))

    assert admitted == 1_000
    assert 1 <= idle(client) <= MOST


def test_a_connection_that_the_server_closed_is_replaced_and_the_call_counts_once(client: Redis, redis_client: Redis) -> None:
    limiter = limiter_of(client, 10)
    limiter.check_and_consume()
    redis_client.client_kill_filter(_type="normal", skipme=True)

    assert limiter.check_and_consume().remaining == 8
    assert limiter.check_and_consume().remaining == 7


def test_a_client_that_was_closed_connects_again(client: Redis) -> None:
    limiter = limiter_of(client, 10)
    limiter.check_and_consume()

    client.close()

    assert limiter.check_and_consume().remaining == 8


def test_a_script_that_the_server_forgot_leaves_the_connection_idle(client: Redis, redis_client: Redis) -> None:
    limiter = limiter_of(client, 10)
    limiter.check_and_consume()
    before = ids_of_connections(redis_client)
    redis_client.script_flush()

    assert limiter.check_and_consume().remaining == 8
    assert idle(client) == 1
    assert ids_of_connections(redis_client) == before


class Interrupted(Exception):
    pass


@contextmanager
def interrupted_after(seconds: float) -> Generator[None]:
    def interrupt(_: int, __: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_reply_to_an_interrupted_call_is_not_taken_for_that_of_the_next(client: Redis, redis_client: Redis) -> None:
    limiter, other = limiter_of(client, 10), limiter_of(client, 5_000)
    limiter.check_and_consume()
    redis_client.client_pause(300)
    with pytest.raises(Interrupted), interrupted_after(0.05):
        limiter.check_and_consume()

    assert other.check_and_consume().remaining == 4_999
    assert limiter.check_and_consume().remaining <= 8


def test_a_forked_child_and_its_parent_never_share_a_connection(client: Redis, redis_client: Redis) -> None:
    limiter, others = limiter_of(client), limiter_of(client, 5_000)
    limiter.check_and_consume()
    (parents,) = ids_of_connections(redis_client) - {str(redis_client.client_id())}

    child = os.fork()
    if child == 0:
        # Whatever happens here, pytest must not go on in the child.
        try:
            remaining = [others.check_and_consume().remaining for _ in range(300)]
            os._exit(0 if remaining == list(range(4_999, 4_699, -1)) else 1)
        finally:
            os._exit(2)
    ours = [limiter.check_and_consume().remaining for _ in range(300)]

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ours == list(range(MANY - 2, MANY - 302, -1))
    assert others.check_and_consume().remaining == 4_699
    assert parents in ids_of_connections(redis_client), "the child has not closed what is the parent's"


def test_a_child_that_was_forked_while_another_thread_called_gets_its_own_answers(client: Redis) -> None:
    limiter, others = limiter_of(client), limiter_of(client, 5_000)
    done, both_call = threading.Event(), threading.Barrier(3)

    def hammer() -> None:
        limiter.check_and_consume()
        both_call.wait()
        while not done.is_set():
            assert limiter.check_and_consume().remaining > 5_000

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(hammer) for _ in range(2)]
        try:
            both_call.wait()
            for _ in range(5):
                child = os.fork()
                if child == 0:
                    try:
                        os._exit(0 if others.check_and_consume().remaining < 5_000 else 1)
                    finally:
                        os._exit(2)
                assert exit_code(child) == 0
        finally:
            done.set()
        for call in calls:
            call.result()


def test_a_child_that_was_forked_while_another_thread_was_at_the_pool_can_use_it(client: Redis) -> None:
    """redis-py's lock of the pool stayed taken in the child, which waited for ever."""
    limiter = limiter_of(client)
    limiter.check_and_consume()
    is_at_the_pool, goes = threading.Event(), threading.Event()

    def be_at_the_pool() -> None:
        with vars(client.connection_pool)["_lock"]:
            is_at_the_pool.set()
            goes.wait(0.2)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(be_at_the_pool)
        is_at_the_pool.wait()
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if limiter.try_consume() else 1)
            finally:
                os._exit(2)
        goes.set()
        assert exit_code(child) == 0
    assert limiter.check_and_consume().remaining == MANY - 3


def exit_code(child: int, within_s: float = 10.0) -> int | None:
    """How a child has ended; None if it had to be killed."""
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@pytest.mark.parametrize("most", [1, SHARE - 1])
def test_a_pool_of_few_connections_keeps_none_from_its_other_users(server_url: str, most: int) -> None:
    with connect(server_url, max_connections=most) as client:
        limiter = limiter_of(client)
        limiter.check_and_consume()

        borrowed = [client.connection_pool.get_connection() for _ in range(most)]
        for connection in borrowed:
            client.connection_pool.release(connection)

        assert idle(client) == 0
        assert limiter.try_consume()


def test_a_crowd_leaves_most_of_a_pool_to_its_other_users(server_url: str) -> None:
    with connect(server_url, max_connections=4 * SHARE) as client, ThreadPoolExecutor(4 * SHARE) as pool:
        limiter = limiter_of(client)
        assert all(call.result() for call in [pool.submit(limiter.try_consume) for _ in range(400)])

        assert idle(client) <= 4
        free = 4 * SHARE - idle(client)
        borrowed = [client.connection_pool.get_connection() for _ in range(free)]
        assert limiter.try_consume() is (idle(client) > 0)
        for connection in borrowed:
            client.connection_pool.release(connection)


class Lender(redis.ConnectionPool):
    """A pool that does something of its own when a connection comes back."""

    released = 0

    def release(self, connection: Any) -> None:
        self.released += 1
        super().release(connection)


def test_a_pool_of_another_kind_gets_each_connection_back(server_url: str) -> None:
    pool = Lender.from_url(server_url)
    with Redis(connection_pool=pool) as client:
        limiter = limiter_of(client)
        for _ in range(3):
            limiter.check_and_consume()

        assert idle(client) == 0
        assert pool.released == 3
    pool.disconnect()


def test_an_idle_connection_is_asked_whether_it_is_well(server_url: str, redis_client: Redis) -> None:
    with connect(server_url, health_check_interval=0.05) as client:
        limiter = limiter_of(client)
        limiter.check_and_consume()
        redis_client.config_resetstat()
        time.sleep(0.06)
        limiter.check_and_consume()

    assert redis_client.info("commandstats")["cmdstat_ping"]["calls"] == 1
