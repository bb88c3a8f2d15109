"""Priorities that age, reserves and weights, case by case."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import pytest
from redis import Redis

from turgor.limits.errors import CostTooLarge
from turgor.scheduler.scheduler import SCRIPTS, Dispatched
from turgor.scheduler.waiting_task import Submitted

from .mutants import Mutant
from .table import (
    GATE,
    ONE_A_MINUTE,
    SLOTS,
    WINDOW,
    Case,
    Step,
    claim,
    dispatch,
    explain,
    finish,
    lose,
    publish,
    put_back,
    submit,
    submit_all,
    table,
    tick,
)

AGEING: dict[str, Any] = {"global": {"priority_ageing": "10s"}, **ONE_A_MINUTE}


def reserving(share: float = 0.2, priority: int | str = 7, **limits: Any) -> dict[str, Any]:
    """A service with these limits, of which a share is reserved."""
    return {"services": {"api": {**limits, "reserve": {"share": share, "priority": priority}}}}


ONE_OF_FIVE = reserving(requests_per_minute=5)
USE_UP: list[Step] = [submit("a"), lose(), claim("a"), finish("a")]


def one_released() -> Dispatched:
    return Dispatched(1, ANY, ANY, 0, ANY)


AGEING_ROWS = (
    Case(
        "without ageing the higher priority goes first, however long the lower one has waited",
        dispatch(),
        one_released(),
        ONE_A_MINUTE,
        [*USE_UP, submit("b", "api low"), tick(59), submit("c"), tick(2.5)],
        {"broker": {"q": "c"}},
    ),
    Case(
        "who has waited as much longer as the levels are worth goes first",
        dispatch(),
        one_released(),
        AGEING,
        [*USE_UP, submit("b", "api low"), tick(50.001), submit("c"), tick(11.5)],
        {"broker": {"q": "b"}, "places": {"api": GATE}},
    ),
    Case(
        "who has waited a little less stays behind",
        dispatch(),
        one_released(),
        AGEING,
        [*USE_UP, submit("b", "api low"), tick(49.999), submit("c"), tick(11.6)],
        {"broker": {"q": "c"}, "places": {"api low": GATE}},
    ),
    Case(
        "a delayed task ages from its time on",
        dispatch(),
        one_released(),
        AGEING,
        [*USE_UP, submit("b", "api low", due_in_s=5), tick(5), dispatch(), tick(46), submit("c"), tick(10.6)],
        {"broker": {"q": "c"}},
    ),
    Case(
        "a submit does not pass one of lower priority that has aged, also when the limit is open",
        submit("c", "api high"),
        Submitted.WAITING,
        {"global": {"priority_ageing": "1s"}, **ONE_A_MINUTE},
        [*USE_UP, submit("b", "api low"), tick(61.5)],
        {"places": {"api low": GATE, "api high": GATE}, "wakes": {GATE: ANY}},
    ),
    Case(
        "what is switched on while work waits counts the whole wait",
        dispatch(),
        one_released(),
        ONE_A_MINUTE,
        [*USE_UP, submit("b", "api low"), tick(55), submit("c"), publish(AGEING), tick(6.5)],
        {"broker": {"q": "b"}},
    ),
    Case(
        "what is switched off is strict again",
        dispatch(),
        one_released(),
        AGEING,
        [*USE_UP, submit("b", "api low"), tick(55), submit("c"), publish(ONE_A_MINUTE), tick(6.5)],
        {"broker": {"q": "c"}},
    ),
    Case(
        "a task that comes back is as old as it was",
        put_back("b"),
        True,
        {"global": {"priority_ageing": "10s"}, "services": {"api": {"max_in_flight": 1}}},
        [submit("b", "api low"), lose(), claim("b"), tick(55), submit("c")],
        {"broker": {"q": "b"}},
    ),
)


@table(*AGEING_ROWS)
def test_ageing(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


def test_a_level_is_worth_what_it_says(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it were not, the rows would show it."""
    compared = "since(one) - one.priority * step() <= since(other) - other.priority * step()"
    Mutant("a level is worth nothing", compared, "since(one) <= since(other)").plant(SCRIPTS, monkeypatch)
    with pytest.raises(AssertionError):
        AGEING_ROWS[2].run(redis_client)


@table(
    Case(
        "below the priority the reserve is not there",
        submit("e"),
        Submitted.WAITING,
        ONE_OF_FIVE,
        [submit_all("a", "b", "c", "d")],
        {"windows": {WINDOW: (0, 4)}, "wakes": {GATE: 60}},
    ),
    Case(
        "from the priority on it is, and nobody who may not use it is in the way",
        submit("f", "api high"),
        Submitted.RELEASED,
        ONE_OF_FIVE,
        [submit_all("a", "b", "c", "d", "e")],
        {"windows": {WINDOW: (0, 5)}, "places": {"api": GATE}},
    ),
    Case(
        "the reserve is no more than it is",
        submit("g", "api high"),
        Submitted.WAITING,
        ONE_OF_FIVE,
        [submit_all("a", "b", "c", "d", "e"), submit("f", "api high")],
        {"windows": {WINDOW: (0, 5)}},
    ),
    Case(
        "units that come back are the reserve's first",
        dispatch(),
        Dispatched(0, ANY, 0, 0, ANY),
        ONE_OF_FIVE,
        [
            *(step for name in "abcde" for step in (submit(name, "api high"), lose(), claim(name), finish(name), tick(1))),
            submit("low"),
            tick(55.7),
        ],
        {"places": {"api": GATE}},
    ),
    Case(
        "a cap on work in flight has a reserve too",
        submit("c", "api high"),
        Submitted.RELEASED,
        reserving(0.5, "HIGH", max_in_flight=2),
        [submit_all("a", "b")],
        {"slots": {SLOTS: ["a", "c"]}, "places": {"api": GATE}},
    ),
    Case(
        "and so has a bucket",
        submit("f", "api high"),
        Submitted.RELEASED,
        reserving(requests_per_minute=60, burst_capacity=5),
        [submit_all("a", "b", "c", "d", "e")],
        {"places": {"api": GATE}, "wakes": {GATE: 2}},
    ),
    Case(
        "a shadow with a reserve counts whom it would have held for it",
        submit("e"),
        Submitted.RELEASED,
        reserving(requests_per_minute=5, shadow=True),
        [submit_all("a", "b", "c", "d")],
        {"shadowed": {WINDOW: 1}},
    ),
    Case(
        "it says that what is left is reserved",
        explain("e"),
        "e: waiting, 0 ahead in its lane, held by service:api requests/1m (what is left is reserved for HIGH and above), "
        "which opens in 60.0 s; expected to start in 60.0 s",
        ONE_OF_FIVE,
        [submit_all("a", "b", "c", "d", "e")],
    ),
    Case(
        "what was accepted before there was a reserve takes all that it may",
        dispatch(),
        Dispatched(1, ANY, 0, 0, ANY),
        {"services": {"api": {"requests_per_minute": 5}}},
        [
            submit("a"),
            submit("b", "api low", weight=5),
            lose(),
            claim("a"),
            finish("a"),
            publish(ONE_OF_FIVE),
            tick(61.5),
        ],
        {"windows": {WINDOW: (0, 5)}},
    ),
)
def test_a_reserve(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


def test_what_costs_more_than_is_open_to_its_priority_is_refused(redis_client: Redis) -> None:
    with pytest.raises(CostTooLarge) as caught:
        Case("", submit("a", weight=5), None, ONE_OF_FIVE).run(redis_client)
    assert (caught.value.cost, caught.value.capacity) == (5, 4)
    Case("", submit("b", "api high", weight=5), Submitted.RELEASED, ONE_OF_FIVE).run(redis_client)
