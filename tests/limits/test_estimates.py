"""What Redis learns of the cost of tasks, against the pure quantile; how much of it is kept; and who reads it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from limit_calls import Calls, new_scope
from turgor.limits import Estimate
from turgor.limits.estimate_book import CACHE_SIZE, EstimateBook
from turgor.limits.lua import LIMITS_LUA, Script
from turgor.limits.quantile import QuantileState, RunningQuantile

LEARN = Script(Path(__file__).parent / "lua" / "learn.lua", LIMITS_LUA)
MOST_NAMES = 1_000

costs = st.integers(0, 12) | st.integers(0, 10**15)
steps = st.lists(st.tuples(costs, st.none() | st.none() | costs), max_size=130)


def learn(calls: Calls, name: str, cost: int, before: int | None = None) -> None:
    LEARN(calls.client, calls.keys.prefix, "", name, cost, "" if before is None else before)


def stored(calls: Calls, name: str) -> QuantileState:
    packed = cast("bytes | None", calls.client.hget(calls.keys("estimates"), name))
    return QuantileState() if packed is None else QuantileState.unpack(packed)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_redis_remembers_what_the_pure_quantile_remembers(calls: Calls, steps: list[tuple[int, int | None]]) -> None:
    name, running, state = new_scope(), RunningQuantile(), QuantileState()

    for cost, before in steps:
        learn(calls, name, cost, before)
        state = running.learn(state, cost, instead_of=before)

    assert stored(calls, name) == state


def test_names_do_not_mix(calls: Calls) -> None:
    learn(calls, "a", 5)
    learn(calls, "b", 7)
    learn(calls, "a", 6)

    assert EstimateBook(calls.client, calls.keys).all() == {"a": Estimate(6, 2), "b": Estimate(7, 1)}


def test_a_name_that_is_new_takes_the_place_of_one_that_was_seldom_learned(calls: Calls) -> None:
    """Names may be made up by `send_task`. What is often used outlives them."""
    often = [f"often {number}" for number in range(20)]
    for name in often:
        for _ in range(3):
            learn(calls, name, 100)
    for number in range(2 * MOST_NAMES):
        learn(calls, f"made up {number}", 5)

    known = EstimateBook(calls.client, calls.keys).all()

    assert len(known) == MOST_NAMES
    assert set(often) <= set(known)
    assert f"made up {2 * MOST_NAMES - 1}" in known


def test_names_that_nobody_gave_and_endless_ones_are_not_learned(calls: Calls) -> None:
    learn(calls, "", 5)
    learn(calls, "x" * 256, 5)

    assert EstimateBook(calls.client, calls.keys).all() == {}


def test_a_book_asks_once_a_second(calls: Calls, redis_client: Redis) -> None:
    now_s = 100.0
    book = EstimateBook(calls.client, calls.keys, clock=lambda: now_s)
    assert book.of_task("a") is None

    learn(calls, "a", 5)
    assert book.of_task("a") is None, "as it was less than a second ago"
    now_s = 101.0
    assert book.of_task("a") == Estimate(5, 1)


def test_what_a_book_remembers_is_bounded(calls: Calls) -> None:
    book = EstimateBook(calls.client, calls.keys)
    for number in range(CACHE_SIZE + 5):
        book.of_task(f"t{number}")

    assert len(book) == 5
