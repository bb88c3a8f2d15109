"""Waiting for a limit: in the order of arrival, until a deadline, over processes that die and servers that restart.

Windows are of 200 ms and real; what is judged is order, exactness and the number of calls, never speed.
"""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from redis import Redis

from limit_calls import START_US, OwnServer, keys_of, most_in_any_window
from support import wait_until
from turgor.limits import (
    CostTooLarge,
    HierarchicalLimiter,
    Limiter,
    RateLimited,
    RateToken,
    Regulator,
    ServerUnreachable,
)
from turgor.limits.keys import Keys
from turgor.limits.link import Link
from turgor.limits.lua import Script

WAITER = Path(__file__).with_name("waiter.py")
PERIOD_US = 200_000
SHORT: dict[str, Any] = {"windows": [{"limit": 5, "per": "200ms"}]}
LIMITS: dict[str, Any] = {
    "services": {
        "fast": SHORT,
        "slow": {"requests_per_minute": 1},
        "slots": {"max_in_flight": 1},
        "tokens": {"token_limits": {"per_hour": 100}},
    },
}


@pytest.fixture
def limiter(server_url: str, redis_client: Redis, realm: str) -> Iterator[HierarchicalLimiter]:
    with HierarchicalLimiter(server_url, LIMITS, realm=realm) as limiter:
        limiter.refresh()
        yield limiter


@pytest.fixture
def script_calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many scripts the limiters of this process have run. A server may be shared, so it is not asked."""
    ran = [0]
    run = Link.run

    def counted(link: Link, script: Script, *values: str | bytes | float) -> Any:
        ran[0] += 1
        return run(link, script, *values)

    monkeypatch.setattr(Link, "run", counted)
    return lambda: ran[0]


def waiting(client: Redis) -> int:
    return sum(client.zcard(key) for key in keys_of(client, "*:line:*"))


class Waiter(NamedTuple):
    """A thread that waits, and what became of it."""

    thread: threading.Thread
    outcome: list[RateToken | BaseException]

    def end(self) -> RateToken | BaseException:
        self.thread.join(20)
        (outcome,) = self.outcome
        return outcome


def start(acquire: Callable[[], RateToken]) -> Waiter:
    outcome: list[RateToken | BaseException] = []

    def run() -> None:
        try:
            outcome.append(acquire())
        except BaseException as error:  # noqa: BLE001  handed to the test
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return Waiter(thread, outcome)


def start_in_line(client: Redis, acquire: Callable[[], RateToken]) -> Waiter:
    before = waiting(client)
    waiter = start(acquire)
    wait_until(lambda: waiting(client) > before, description="the waiter has its place")
    return waiter


@pytest.fixture
def hire_waiters(server_url: str, realm: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def hire(service: str, timeout: float, count: int = 1, url: str = server_url) -> subprocess.Popen[str]:
        command = [sys.executable, str(WAITER), url, realm, service, str(timeout), str(count)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield hire
    for process in processes:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


def charged_at_us(token: Any) -> int:
    return int(token._reply[5])


def is_frozen(pid: int) -> bool:
    return subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout.startswith(
        "T"
    )


def spend(limiter: HierarchicalLimiter, service: str) -> None:
    while limiter.try_acquire(service=service):
        pass


def test_twenty_waiters_break_no_window_and_call_the_server_a_few_times_each(
    limiter: HierarchicalLimiter, redis_client: Redis, script_calls: Callable[[], int]
) -> None:
    spend(limiter, "fast")
    before = script_calls()

    waiters = [start(lambda: limiter.acquire(service="fast", timeout=10)) for _ in range(20)]
    outcomes = [waiter.end() for waiter in waiters]

    times = [charged_at_us(outcome) for outcome in outcomes if isinstance(outcome, RateToken)]
    assert len(times) == 20, outcomes
    assert most_in_any_window([(at_us, 1) for at_us in sorted(times)], PERIOD_US) == 5
    # Each asks, takes its place, and tries when it has the turn; the head tries once more when a window opens.
    assert script_calls() - before <= 4 * 20
    assert keys_of(redis_client, "*:line:*") + keys_of(redis_client, "*:turn:*") == []


def test_those_who_wait_are_served_in_the_order_in_which_they_came(
    limiter: HierarchicalLimiter, redis_client: Redis, script_calls: Callable[[], int]
) -> None:
    order: list[int] = []
    running = limiter.acquire(service="slots")

    def work(number: int) -> RateToken:
        with limiter.acquire(service="slots", timeout=30) as token:
            order.append(number)
        return token

    waiters = [start_in_line(redis_client, lambda number=number: work(number)) for number in range(20)]
    before = script_calls()
    running.ok()
    for waiter in waiters:
        assert isinstance(waiter.end(), RateToken)

    assert order == [*range(20)]
    # Each tries when the one before it is admitted, and when that one's slot is free, and frees its own.
    assert script_calls() - before <= 4 * 20


def test_the_order_holds_across_processes(
    limiter: HierarchicalLimiter, redis_client: Redis, hire_waiters: Callable[..., subprocess.Popen[str]]
) -> None:
    running = limiter.acquire(service="slots")
    processes: list[subprocess.Popen[str]] = []
    for number in range(4):
        processes.append(hire_waiters("slots", 60))
        wait_until(lambda count=number + 1: waiting(redis_client) == count, description=f"process {number} has its place")

    running.ok()
    lines = [process.communicate(timeout=30)[0].split() for process in processes]

    assert [line[0] for line in lines] == ["admitted"] * 4
    # Each holds the only slot when it asks the server for the time.
    times = [int(line[2]) for line in lines]
    assert times == sorted(times)


def test_a_newcomer_does_not_overtake_those_who_wait(limiter: HierarchicalLimiter, redis_client: Redis) -> None:
    with limiter.acquire(service="slots") as running:
        first = start_in_line(redis_client, lambda: limiter.acquire(service="slots", timeout=10))
        second = start_in_line(redis_client, lambda: limiter.acquire(service="slots", timeout=10))
        assert limiter.try_acquire(service="slots") is None
        running.ok()
        token = first.end()
        assert isinstance(token, RateToken)
        assert limiter.try_acquire(service="slots") is None
        token.ok()
        last = second.end()
        assert isinstance(last, RateToken)
        last.ok()
    assert limiter.try_acquire(service="slots") is not None


def test_a_newcomer_is_refused_while_others_wait_even_if_its_own_cost_would_fit(redis_client: Redis, realm: str) -> None:
    limiter = Limiter(redis_client, "budget", realm=realm, requests_per_minute=10)
    limiter.check_and_consume(6)
    waiter = start_in_line(redis_client, lambda: limiter.acquire(9, timeout=300))

    assert not limiter.try_consume(1)
    with pytest.raises(RateLimited) as refused:
        limiter.check_and_consume(1)

    decision = refused.value.decision
    assert (decision.remaining, decision.limit, decision.retry_after) == (4, "requests/1m", 0.05)
    redis_client.delete(*keys_of(redis_client, "*:limit:*"))
    assert waiter.thread.is_alive()
    # The budget is whole again; the waiter would look at its own time, so it is called as a settlement does.
    (line,) = keys_of(redis_client, "*:line:*")
    (name,) = cast("list[bytes]", redis_client.zrange(line, 0, 0))
    redis_client.publish(f"{{turgor:{realm}}}:wake:{name.decode()}", "opened")
    assert isinstance(waiter.end(), RateToken)


@pytest.mark.parametrize("timeout", [None, 0, 0.0, timedelta(0)], ids=repr)
def test_no_time_is_a_refusal_at_once(
    limiter: HierarchicalLimiter, redis_client: Redis, script_calls: Callable[[], int], timeout: Any
) -> None:
    spend(limiter, "slots")
    before = script_calls()

    with pytest.raises(RateLimited, match="service:slots in_flight"):
        limiter.acquire(service="slots", timeout=timeout)

    assert script_calls() == before + 1
    assert waiting(redis_client) == 0


def test_a_limit_that_surely_opens_too_late_refuses_at_once(
    limiter: HierarchicalLimiter, redis_client: Redis, script_calls: Callable[[], int]
) -> None:
    spend(limiter, "slow")
    before = script_calls()

    with pytest.raises(RateLimited) as refused:
        limiter.acquire(service="slow", timeout=20)

    assert 20 < refused.value.decision.retry_after <= 60
    assert script_calls() == before + 1


@pytest.mark.parametrize("timeout", [0.3, timedelta(milliseconds=300)], ids=repr)
def test_a_limit_that_may_open_before_its_time_is_waited_for_until_the_deadline(
    limiter: HierarchicalLimiter, redis_client: Redis, timeout: Any
) -> None:
    limiter.acquire(service="slots")
    started = time.monotonic()

    with pytest.raises(RateLimited, match="service:slots in_flight"):
        limiter.acquire(service="slots", timeout=timeout)

    assert time.monotonic() - started >= 0.3
    assert keys_of(redis_client, "*:line:*") + keys_of(redis_client, "*:turn:*") == []


def test_who_gives_up_lets_the_next_go_on(limiter: HierarchicalLimiter, redis_client: Redis) -> None:
    """Forty tokens are left: the head needs more of them, the one behind it fewer."""
    limiter.acquire(service="tokens", tokens=60)
    head = start_in_line(redis_client, lambda: limiter.acquire(service="tokens", tokens=90, timeout=0.6))
    behind = start_in_line(redis_client, lambda: limiter.acquire(service="tokens", tokens=10, timeout=30))

    assert isinstance(head.end(), RateLimited)
    assert isinstance(behind.end(), RateToken)


def test_a_cost_above_the_limit_is_an_error_at_once(limiter: HierarchicalLimiter, redis_client: Redis) -> None:
    with pytest.raises(CostTooLarge):
        limiter.acquire(service="fast", weight=6, timeout=math.inf)


def test_infinity_waits(limiter: HierarchicalLimiter, redis_client: Redis) -> None:
    with limiter.acquire(service="slots") as running:
        waiter = start_in_line(redis_client, lambda: limiter.acquire(service="slots", timeout=math.inf))
        running.ok()
        assert isinstance(waiter.end(), RateToken)


@pytest.mark.parametrize("timeout", [-1, math.nan, True, "5", timedelta(seconds=-1)], ids=repr)
def test_a_timeout_that_is_no_duration_is_refused_by_name(limiter: HierarchicalLimiter, timeout: Any) -> None:
    with pytest.raises(ValueError, match=r"^timeout: .* is not allowed; use seconds of at least 0, a timedelta or None"):
        limiter.acquire(service="fast", timeout=timeout)


def test_a_passed_time_stands_still_so_nobody_can_wait_in_it(limiter: HierarchicalLimiter) -> None:
    with pytest.raises(ValueError, match="while now_us is given, time stands still"):
        limiter.acquire(service="fast", timeout=1, now_us=START_US)
    limiter.acquire(service="fast", timeout=0, now_us=START_US)


def test_a_freed_slot_wakes_the_head_before_the_lease_of_the_slot_lapses(
    limiter: HierarchicalLimiter, redis_client: Redis, script_calls: Callable[[], int]
) -> None:
    running = limiter.acquire(service="slots")
    waiter = start_in_line(redis_client, lambda: limiter.acquire(service="slots", timeout=30))
    before = script_calls()
    running.ok()

    token = waiter.end()

    assert isinstance(token, RateToken)
    assert script_calls() - before <= 4


def test_a_slot_that_a_task_frees_is_found_as_well(limiter: HierarchicalLimiter, redis_client: Redis) -> None:
    """A worker's report wakes no limiter: the head looks twice a second."""
    limiter.acquire(service="slots")
    waiter = start_in_line(redis_client, lambda: limiter.acquire(service="slots", timeout=30))

    redis_client.delete(*keys_of(redis_client, "*:limit:service:slots:*"))

    assert isinstance(waiter.end(), RateToken)


def test_a_killed_head_is_skipped(
    limiter: HierarchicalLimiter, redis_client: Redis, hire_waiters: Callable[..., subprocess.Popen[str]]
) -> None:
    running = limiter.acquire(service="slots")
    head = hire_waiters("slots", 60)
    wait_until(lambda: waiting(redis_client) == 1, description="the head has its place")
    waiter = start_in_line(redis_client, lambda: limiter.acquire(service="slots", timeout=30))
    head.kill()
    head.wait()
    running.ok()

    started = time.monotonic()
    assert isinstance(waiter.end(), RateToken)
    assert time.monotonic() - started < 6, "a few seconds, not the 30 that it would wait"


def test_a_killed_crowd_in_the_middle_of_a_line_costs_nothing(
    limiter: HierarchicalLimiter,
    redis_client: Redis,
    hire_waiters: Callable[..., subprocess.Popen[str]],
    script_calls: Callable[[], int],
) -> None:
    running = limiter.acquire(service="slots")
    first = start_in_line(redis_client, lambda: limiter.acquire(service="slots", timeout=30))
    crowd = hire_waiters("slots", 60, 20)
    wait_until(lambda: waiting(redis_client) == 21, description="the crowd stands in line")
    last = start_in_line(redis_client, lambda: limiter.acquire(service="slots", timeout=30))
    crowd.kill()
    crowd.wait()
    running.ok()
    token = first.end()
    assert isinstance(token, RateToken)
    before = script_calls()

    token.ok()

    assert isinstance(last.end(), RateToken)
    assert script_calls() - before <= 3


def test_a_line_of_the_dead_refuses_nobody(
    limiter: HierarchicalLimiter, redis_client: Redis, hire_waiters: Callable[..., subprocess.Popen[str]]
) -> None:
    running = limiter.acquire(service="slots")
    crowd = hire_waiters("slots", 60, 3)
    wait_until(lambda: waiting(redis_client) == 3, description="the crowd stands in line")
    crowd.kill()
    crowd.wait()
    running.ok()

    assert limiter.try_acquire(service="slots") is not None
    assert keys_of(redis_client, "*:line:*") == []


def test_a_frozen_head_loses_its_turn_and_not_its_place(
    limiter: HierarchicalLimiter, redis_client: Redis, hire_waiters: Callable[..., subprocess.Popen[str]]
) -> None:
    running = limiter.acquire(service="slots")
    head = hire_waiters("slots", 60)
    wait_until(lambda: waiting(redis_client) == 1, description="the head has its place")
    waiter = start_in_line(redis_client, lambda: limiter.acquire(service="slots", timeout=30))
    head.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_frozen(head.pid), description="the head is frozen")
    running.ok()
    token = waiter.end()
    assert isinstance(token, RateToken)

    head.send_signal(signal.SIGCONT)
    wait_until(lambda: waiting(redis_client) == 1, description="it is back")
    token.ok()

    assert head.communicate(timeout=20)[0].startswith("admitted")


def test_waiters_ride_out_a_restart_of_the_server_in_their_order(own_server: OwnServer, realm: str) -> None:
    client = own_server.client()
    limiter = HierarchicalLimiter(own_server.url, LIMITS, realm=realm)
    running = limiter.acquire(service="slots")
    order: list[int] = []

    def wait(number: int) -> RateToken:
        token = limiter.acquire(service="slots", timeout=40)
        order.append(number)
        time.sleep(0.01)
        token.ok()
        return token

    waiters = [start_in_line(client, lambda number=number: wait(number)) for number in range(3)]
    own_server.kill()
    time.sleep(0.3)
    own_server.restart()
    running.ok()

    assert all(isinstance(waiter.end(), RateToken) for waiter in waiters)
    assert order == [0, 1, 2]


def test_who_cannot_even_ask_does_not_wait(own_server: OwnServer, realm: str) -> None:
    limiter = HierarchicalLimiter(own_server.url, LIMITS, realm=realm)
    limiter.refresh()
    own_server.stop()

    with pytest.raises(ServerUnreachable):
        limiter.acquire(service="slots", timeout=30)


def test_two_accounts_that_share_a_scope_are_two_lines(redis_client: Redis, realm: str) -> None:
    tables = {"services": {"git": {"max_in_flight": 1}}, "loops": {"*": {"requests_per_hour": 10}}}
    limiter = HierarchicalLimiter(redis_client, tables, realm=realm)
    running = limiter.acquire(service="git", loop="a")
    one = start_in_line(redis_client, lambda: limiter.acquire(service="git", loop="a", timeout=20))
    other = start_in_line(redis_client, lambda: limiter.acquire(service="git", loop="b", timeout=20))
    assert len(keys_of(redis_client, "*:line:*")) == 2

    running.ok()
    token = one.end()
    assert isinstance(token, RateToken)
    token.ok()

    assert isinstance(other.end(), RateToken)


def test_a_wait_is_one_decision(limiter: HierarchicalLimiter, redis_client: Redis) -> None:
    spend(limiter, "fast")
    before = limiter.statistics()

    limiter.acquire(service="fast", timeout=5)

    after = limiter.statistics()
    assert (after.allowed - before.allowed, after.refused - before.refused) == (1, 0)


def test_a_pause_is_waited_for_until_it_is_lifted_even_where_there_is_no_limit(redis_client: Redis, realm: str) -> None:
    limiter = HierarchicalLimiter(redis_client, {"services": {"free": {}}}, realm=realm)
    regulator = Regulator(redis_client, Keys(realm))
    regulator.pause("service:free")
    waiter = start_in_line(redis_client, lambda: limiter.acquire(service="free", timeout=30))
    with pytest.raises(RateLimited, match="service:free paused"):
        limiter.acquire(service="free", timeout=0.2)

    regulator.resume("service:free")

    assert isinstance(waiter.end(), RateToken)
