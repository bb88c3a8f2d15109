"""What becomes of calls while the server is away, as each service has chosen."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from limit_calls import START_US, OwnServer
from support import free_port, wait_until
from turgor.limits import (
    AsyncHierarchicalLimiter,
    AsyncLimiter,
    ConfigError,
    Decision,
    HierarchicalLimiter,
    Limiter,
    LimiterStatistics,
    OnUnreachable,
    RateLimited,
    ServerUnreachable,
    Source,
)
from turgor.limits.limit import SECOND_US
from turgor.limits.link import Link
from turgor.limits.outage import CLOSED, PROBE_S, Outage

LIMITS: dict[str, Any] = {
    "global": {"requests_per_minute": 1_000},
    "services": {
        "closed": {"requests_per_minute": 100},
        "open": {"requests_per_minute": 1, "on_unreachable": "open"},
        "local": {"requests_per_minute": 30, "max_in_flight": 20, "on_unreachable": "local"},
        "half": {"requests_per_minute": 8, "on_unreachable": "local", "local_share": 0.5},
        "quick": {"windows": [{"limit": 10, "per": "300ms"}], "on_unreachable": "local"},
    },
}


@pytest.fixture
def limiter(own_server: OwnServer, realm: str) -> Iterator[HierarchicalLimiter]:
    with HierarchicalLimiter(own_server.url, LIMITS, realm=realm) as limiter:
        limiter.refresh()
        yield limiter


def test_closed_refuses_open_passes_and_local_keeps_its_share(own_server: OwnServer, limiter: HierarchicalLimiter) -> None:
    own_server.stop()

    with pytest.raises(ServerUnreachable):
        limiter.acquire(service="closed")
    with pytest.raises(ServerUnreachable):
        limiter.acquire(loop="of no service")
    assert [limiter.acquire(service="open").decision for _ in range(9)] == [Decision(True, source=Source.OPEN)] * 9
    sources = [
        token and token.decision.source for token in (limiter.try_acquire(service="half", now_us=START_US) for _ in range(6))
    ]
    assert sources == [Source.LOCAL] * 4 + [None] * 2
    assert limiter.statistics() == LimiterStatistics(allowed=13, refused=2, units_allowed=13, local=6, open=9)


def test_a_refusal_of_the_share_names_its_limit_and_source(own_server: OwnServer, limiter: HierarchicalLimiter) -> None:
    own_server.stop()
    limiter.acquire(service="half", weight=4, now_us=START_US)

    with pytest.raises(RateLimited, match="service:half requests/1m") as refused:
        limiter.acquire(service="half", now_us=START_US + 20 * SECOND_US)

    decision = refused.value.decision
    assert (decision.source, decision.retry_after, decision.remaining) == (Source.LOCAL, 40.0, 0)


def test_local_slots_are_free_when_the_work_ends(own_server: OwnServer, limiter: HierarchicalLimiter) -> None:
    own_server.stop()

    with limiter.acquire(service="local"), limiter.acquire(service="local") as second:
        assert limiter.try_acquire(service="local") is None
        second.settle(5)
    assert second.tokens == 5
    assert limiter.try_acquire(service="local") is not None


def test_the_server_decides_again_within_a_second_of_its_return(own_server: OwnServer, limiter: HierarchicalLimiter) -> None:
    own_server.stop()
    assert limiter.acquire(service="open").decision.source is Source.OPEN
    own_server.restart()
    back_s = time.monotonic()

    wait_until(
        lambda: (token := limiter.try_acquire(service="open")) is None or token.decision.source is Source.REDIS,
        description="the server decides",
    )

    assert time.monotonic() - back_s < 1 + 0.5  # and what a loaded machine takes
    assert limiter.acquire(service="local").decision.source is Source.REDIS


def test_what_the_stand_in_admitted_is_not_charged_later(own_server: OwnServer, limiter: HierarchicalLimiter) -> None:
    own_server.stop()
    for _ in range(3):
        limiter.acquire(service="half", now_us=START_US)
    own_server.restart()
    wait_until(lambda: limiter.acquire(service="open").decision.source is Source.REDIS, description="the server decides")

    assert [usage.remaining for usage in limiter.usage("service:half", now_us=START_US)] == [8]


def test_while_the_server_hangs_calls_do_not(own_server: OwnServer, realm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pays for a server that is away but one probe a second."""
    limiter = HierarchicalLimiter(own_server.url, LIMITS, realm=realm)
    limiter.refresh()
    own_server.stop()
    limiter.acquire(service="open")
    probes = [0]
    answers = Link.answers

    def counted(link: Link) -> bool:
        probes[0] += 1
        return answers(link)

    def fail(link: Link, *values: object) -> None:
        pytest.fail("a call went to the server")

    monkeypatch.setattr(Link, "answers", counted)
    monkeypatch.setattr(Link, "run", fail)
    started_s = time.monotonic()
    while time.monotonic() - started_s < 2.5:
        assert limiter.acquire(service="open").decision.source is Source.OPEN

    assert 1 <= probes[0] <= 3


def test_a_probe_gives_up_soon() -> None:
    """The port takes connections and says nothing, as a server that hangs does."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        link = Link(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started_s = time.monotonic()
        assert not link.answers()
        assert time.monotonic() - started_s < 5


def test_a_wait_goes_on_with_the_share(own_server: OwnServer, limiter: HierarchicalLimiter) -> None:
    own_server.stop()
    first = limiter.acquire(service="quick")
    started_s = time.monotonic()

    second = limiter.acquire(service="quick", timeout=10)

    assert (first.decision.source, second.decision.source) == (Source.LOCAL, Source.LOCAL)
    assert time.monotonic() - started_s >= 0.25
    with pytest.raises(RateLimited):
        limiter.acquire(service="quick", timeout=0.01)


def test_one_scope_has_a_policy_too(own_server: OwnServer, realm: str) -> None:
    limiter = Limiter(own_server.url, "x", realm=realm, requests_per_minute=10, on_unreachable="local", local_share=0.2)
    assert limiter.check_and_consume(now_us=START_US).source is Source.REDIS
    own_server.stop()

    assert [limiter.try_consume(now_us=START_US) for _ in range(3)] == [True, True, False]
    assert limiter.statistics() == LimiterStatistics(allowed=3, refused=1, units_allowed=3, local=3)
    with pytest.raises(ServerUnreachable):
        limiter.peek()


def test_a_policy_of_one_scope_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"^on_unreachable: 'maybe' is not allowed; use 'closed', 'open' or 'local'$"):
        Limiter("redis://localhost", "x", requests_per_minute=1, on_unreachable="maybe")
    with pytest.raises(ConfigError, match=r"^local_share: 2 is not allowed; use a number above 0, and at most 1$"):
        Limiter("redis://localhost", "x", requests_per_minute=1, on_unreachable="local", local_share=2)


def test_a_limiter_that_never_saw_the_limits_of_its_realm_has_nothing_to_go_by(realm: str) -> None:
    with pytest.raises(ServerUnreachable):
        HierarchicalLimiter(f"redis://127.0.0.1:{free_port()}/0", realm=realm).acquire(service="open")


def test_the_limits_that_the_program_brings_hold_even_if_the_server_was_never_there(realm: str) -> None:
    limiter = HierarchicalLimiter(f"redis://127.0.0.1:{free_port()}/0", LIMITS, realm=realm)

    assert limiter.acquire(service="open").decision.source is Source.OPEN
    assert limiter.acquire(service="local").decision.source is Source.LOCAL


def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(
    own_server: OwnServer, limiter: HierarchicalLimiter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="turgor.limits")
    own_server.stop()
    for _ in range(5):
        limiter.acquire(service="open")
    own_server.restart()
    wait_until(lambda: limiter.acquire(service="open").decision.source is Source.REDIS, description="the server decides")

    messages = [record.message for record in caplog.records]
    assert len(messages) == 2, messages
    assert messages[0].startswith("no Redis at redis://127.0.0.1:")
    assert messages[1] == "the server is back, and decides again"


def test_the_same_with_asyncio(own_server: OwnServer, realm: str) -> None:
    async def main() -> None:
        async with AsyncHierarchicalLimiter(own_server.url, LIMITS, realm=realm) as limiter:
            await limiter.refresh()
            await asyncio.to_thread(own_server.stop)
            with pytest.raises(ServerUnreachable):
                await limiter.acquire(service="closed")
            assert (await limiter.acquire(service="open")).decision.source is Source.OPEN
            async with await limiter.acquire(service="local"), await limiter.acquire(service="local"):
                assert await limiter.try_acquire(service="local") is None
            await limiter.acquire(service="quick")
            assert (await limiter.acquire(service="quick", timeout=10)).decision.source is Source.LOCAL
            statistics = limiter.statistics()
            assert (statistics.allowed + statistics.refused, statistics.open) == (statistics.local + 1, 1)

            await asyncio.to_thread(own_server.restart)
            async with asyncio.timeout(10):
                while (await limiter.acquire(service="open")).decision.source is not Source.REDIS:  # noqa: ASYNC110  it is asked
                    await asyncio.sleep(0.05)

    asyncio.run(main())


def test_one_scope_with_asyncio(own_server: OwnServer, realm: str) -> None:
    async def main() -> None:
        async with AsyncLimiter(own_server.url, "x", realm=realm, on_unreachable="local", requests_per_minute=10) as limiter:
            await asyncio.to_thread(own_server.stop)
            assert [await limiter.try_consume(now_us=START_US) for _ in range(2)] == [True, False]

    asyncio.run(main())


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_an_outage_has_one_prober_a_second() -> None:
    clock = Clock()
    outage = Outage(clock)
    assert (outage.is_on, outage.claims_probe(), outage.end()) == (False, False, False)

    assert (outage.begin(), outage.begin(), outage.is_on) == (True, False, True)
    clock.now_s = PROBE_S - 0.01
    assert not outage.claims_probe()
    clock.now_s = PROBE_S
    assert [outage.claims_probe() for _ in range(3)] == [True, False, False]
    clock.now_s += PROBE_S
    assert outage.claims_probe()
    assert (outage.end(), outage.is_on, outage.claims_probe()) == (True, False, False)


def test_what_is_not_chosen_is_closed() -> None:
    assert (CLOSED.on_unreachable, CLOSED.has_stand_in) == (OnUnreachable.CLOSED, False)
