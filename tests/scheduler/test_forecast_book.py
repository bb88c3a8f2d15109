"""Forecasts of starts are held against the truth."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from redis import Redis

from turgor.scheduler import Explanation, TaskState
from turgor.scheduler.forecast_book import KEPT, REMEMBERED_S, ForecastBook, ForecastStatistics

from .realm import Realm
from .table import LANES, ONE_A_MINUTE, Case, Step, attend, claim, pause, submit, submit_all, table, tick


def book(realm: Realm) -> ForecastBook:
    return ForecastBook(realm.client, realm.keys)


def expect(name: str, to: str = "api") -> Step:
    return lambda realm: replace(book(realm).expect(realm.task(name, LANES[to]), now_us=realm.now_us), history=())


def judge(name: str, started_s_ago: float = 0.0) -> Step:
    return lambda realm: book(realm).judge(name, started_s_ago, now_us=realm.now_us)


def judged(expected_s: int, waited_s: int) -> bytes:
    return b"%d %d" % (expected_s * 1_000_000, waited_s * 1_000_000)


def remembered(realm: Realm) -> dict[str, float]:
    """How many seconds each task is expected to wait."""
    prefix = realm.keys("expected:")
    found: dict[str, float] = {}
    for key in realm.client.scan_iter(f"{prefix}*"):
        asked_us, start_us = cast("bytes", realm.client.get(key)).split()
        found[key.decode().removeprefix(prefix)] = (int(start_us) - int(asked_us)) / 1e6
    return found


WAITING = Explanation("b", TaskState.WAITING, 0, "service:api requests/1m", 60, 60)


@table(
    Case("what a waiting task is told is remembered", expect("b"), WAITING, ONE_A_MINUTE, [submit_all("a", "b")], {"b": 60}),
    Case(
        "the first forecast is the one that counts",
        expect("b"),
        Explanation("b", TaskState.WAITING, 0, "service:api requests/1m", 50, 50),
        ONE_A_MINUTE,
        [submit("a"), claim("a"), submit("b"), expect("b"), tick(10.25)],
        {"b": 60.25},
    ),
    Case("a task that is released needs none", expect("a"), Explanation("a", TaskState.RELEASED), given=[submit("a")]),
    Case(
        "a delayed task says when it is due itself",
        expect("a"),
        Explanation("a", TaskState.DELAYED, opens_in_s=9, expected_in_s=9),
        given=[submit("a", due_in_s=9)],
    ),
    Case(
        "where nobody knows, nothing is remembered",
        expect("a"),
        Explanation("a", TaskState.WAITING, 0, "service:api paused", float("inf")),
        ONE_A_MINUTE,
        [pause("service:api"), submit("a")],
    ),
    Case(
        "nor where a queue is full",
        expect("b"),
        Explanation("b", TaskState.WAITING, 0, "queue:q ahead", 1),
        given=[attend(q=1), submit_all("a", "b")],
    ),
)
def test_expect(case: Case, redis_client: Redis) -> None:
    realm = Realm(redis_client, case.limits)
    for step in case.given:
        step(realm)
    assert case.call(realm) == case.reply
    assert remembered(realm) == case.after


def test_a_forecast_is_judged_once_by_the_real_start(redis_client: Redis) -> None:
    realm = Realm(redis_client, ONE_A_MINUTE)
    for step in (submit_all("a", "b"), expect("b"), tick(75)):
        step(realm)
    assert judge("b", started_s_ago=12)(realm) is True
    assert judge("b")(realm) is False
    assert judge("a")(realm) is False
    assert redis_client.lrange(realm.keys("forecasts"), 0, -1) == [judged(60, 63)]
    assert book(realm).statistics() == ForecastStatistics(1, 3.0, 3.0, 3.0, 63.0)
    assert not remembered(realm)


def test_a_start_before_the_forecast_counted_from_is_a_wait_of_nothing(redis_client: Redis) -> None:
    """The task may be released between its submit and the question."""
    realm = Realm(redis_client, ONE_A_MINUTE)
    for step in (submit_all("a", "b"), expect("b")):
        step(realm)
    judge("b", started_s_ago=5)(realm)
    assert redis_client.lrange(realm.keys("forecasts"), 0, -1) == [judged(60, 0)]


def test_what_nobody_judges_is_forgotten_a_day_after_its_time(redis_client: Redis) -> None:
    realm = Realm(redis_client, ONE_A_MINUTE)
    for step in (submit_all("a", "b"), expect("b")):
        step(realm)
    left_ms = redis_client.pttl(realm.keys("expected:b"))
    virtual_s = 3_600  # where a test says the time, keys live an hour longer
    assert 59_000 < left_ms - (REMEMBERED_S + virtual_s) * 1000 <= 60_001


def test_the_last_thousand_judgements_are_kept(redis_client: Redis) -> None:
    realm = Realm(redis_client, ONE_A_MINUTE)
    redis_client.rpush(realm.keys("forecasts"), *[judged(1, 1)] * KEPT)
    for step in (submit_all("a", "b"), expect("b"), judge("b")):
        step(realm)
    assert redis_client.llen(realm.keys("forecasts")) == KEPT
    assert redis_client.lindex(realm.keys("forecasts"), 0) == judged(60, 0)


def test_the_figures_of_ten_forecasts() -> None:
    """Errors of 1 to 10 s by turns early and late: half within 5, nine in ten within 9, 0.5 s late in the mean."""
    errors = [-1, 2, -3, 4, -5, 6, -7, 8, -9, 10]
    figures = ForecastStatistics.of([(20, 20 + error) for error in errors])
    assert figures == ForecastStatistics(10, 5, 9, 0.5, 19)
    assert str(figures) == (
        "10 forecasts judged: half within 5.00 s of the start, nine in ten within 9.00 s, where half waited 19.00 s"
    )
    assert str(ForecastStatistics()) == "no forecasts judged"
