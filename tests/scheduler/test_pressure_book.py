"""What new work would meet at its service, by tables."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from turgor.limits.degradation import Pressure
from turgor.limits.outcome import Outcome
from turgor.scheduler import pressure_book
from turgor.scheduler.pressure_book import REFRESH_S, PressureBook

from .realm import Realm, lane
from .table import LANES, ONE_A_MINUTE, ONE_AT_A_TIME, Case, Step, attend, claim, finish, pause, submit, submit_all, table, tick

BREAKER: dict[str, Any] = {"services": {"api": {"requests_per_minute": 60, "breaker": {"minimum_calls": 1}}}}


def pressure(to: str = "api", **cost: int) -> Step:
    return lambda realm: PressureBook(realm.client, realm.keys).read(LANES[to], **cost, now_us=realm.now_us)


def fail(name: str) -> Step:
    return lambda realm: [submit(name)(realm), claim(name)(realm), finish(name, Outcome.FAILED)(realm)]


@table(
    Case("a service that is idle", pressure(), Pressure(), ONE_A_MINUTE),
    Case("a service of which nobody knows", pressure(), Pressure()),
    Case("work behind others in its lane", pressure(), Pressure(180.0), ONE_A_MINUTE, [submit_all("a", "b", "c")]),
    Case(
        "a lane that does not exist yet comes behind one task of each that waits at its gate",
        pressure("api of a"),
        Pressure(120.0),
        ONE_A_MINUTE,
        [submit_all("a", "b", "c")],
    ),
    Case(
        "and before those of a lower priority",
        pressure("api high"),
        Pressure(60.0),
        ONE_A_MINUTE,
        [submit_all("a", "b", "c")],
    ),
    Case(
        "what costs more waits longer",
        pressure(weight=2),
        Pressure(120.0),
        {"services": {"api": {"requests_per_minute": 2}}},
        [submit_all("a", "b", weight=2)],
    ),
    Case("nobody knows when slots are free", pressure(), Pressure(None), ONE_AT_A_TIME, [submit("a")]),
    Case("nobody knows when a pause ends", pressure(), Pressure(None), ONE_A_MINUTE, [pause("service:api")]),
    Case("nor when a queue has room", pressure(), Pressure(None), given=[attend(q=1), submit("a")]),
    Case(
        "how full the backlog is",
        pressure(),
        Pressure(120.0, 0.25),
        {"services": {"api": {"requests_per_minute": 1, "backlog": {"limit": 4}}}},
        [submit_all("a", "b")],
    ),
    Case(
        "the fullest of them",
        pressure(),
        Pressure(120.0, 0.5),
        {"global": {"backlog": {"limit": 2}}, "services": {"api": {"requests_per_minute": 1, "backlog": {"limit": 4}}}},
        [submit_all("a", "b")],
    ),
    Case("an open breaker says for how long", pressure(), Pressure(None, 0.0, 10.0), BREAKER, [fail("a")]),
    Case("until it lets probes through", pressure(), Pressure(), BREAKER, [fail("a"), tick(10)]),
)
def test_pressure(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


def test_it_changes_nothing(redis_client: Redis) -> None:
    realm = Realm(redis_client, BREAKER)
    for step in (fail("a"), submit_all("b", "c")):
        step(realm)
    before = realm.state()
    pressure()(realm)
    assert realm.state() == before


def test_what_was_read_is_good_for_a_second(redis_client: Redis) -> None:
    clock = [0.0]
    realm = Realm(redis_client, ONE_A_MINUTE)
    book = PressureBook(redis_client, realm.keys, clock=lambda: clock[0])
    assert book.of_lane(LANES["api"]) == Pressure()
    realm.regulator.pause("service:api")
    clock[0] = REFRESH_S - 0.001
    assert book.of_lane(LANES["api"]) == Pressure()
    clock[0] = REFRESH_S
    assert book.of_lane(LANES["api"]) == Pressure(None)


def test_it_remembers_no_more_than_so_many_lanes(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure_book, "CACHE_SIZE", 3)
    book = PressureBook(redis_client, Realm(redis_client, ONE_A_MINUTE).keys)
    for number in range(5):
        book.of_lane(lane("api", loop=str(number)))
    assert len(book) == 2
