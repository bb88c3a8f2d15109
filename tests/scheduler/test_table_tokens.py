"""What becomes of reserved tokens: `settle_tokens`, and `finish`, `put_back` and `dispatch` where tokens are limited."""

from __future__ import annotations

import random
from typing import Any

import pytest
from redis import Redis

from turgor.limits.outcome import Outcome
from turgor.scheduler.scheduler import SECOND_US, Settled

from .realm import EPOCH_US, Realm, Window
from .table import (
    LANES,
    TEN_TOKENS,
    TOKENS,
    Case,
    claim,
    dispatch,
    finish,
    lose,
    publish,
    put_back,
    settle,
    submit,
    table,
    tick,
)

SETTLED, UNCOUNTED, STALE = Settled.SETTLED, Settled.UNCOUNTED, Settled.STALE
BOTH: dict[str, Any] = {"services": {"api": {"requests_per_minute": 5, "token_limits": {"per_minute": 10}}}}
TWO_LEVELS: dict[str, Any] = {
    "global": {"token_limits": {"per_hour": 50}},
    "services": {"api": {"token_limits": {"per_minute": 10}}},
}


def recover(realm: Realm) -> int:
    return realm.dispatch().recovered


RUNNING = [submit("a", tokens=8), lose(), claim("a")]


@table(
    Case("less: the rest is free again", settle("a", 3), SETTLED, TEN_TOKENS, RUNNING, {"windows": {TOKENS: (3, 0)}}),
    Case("more: the difference is spent as well", settle("a", 25), SETTLED, TEN_TOKENS, RUNNING, {"windows": {TOKENS: (25, 0)}}),
    Case("just that", settle("a", 8), SETTLED, TEN_TOKENS, RUNNING, {"windows": {TOKENS: (8, 0)}}),
    Case("nothing", settle("a", 0), SETTLED, TEN_TOKENS, RUNNING, {"windows": {TOKENS: (0, 0)}}),
    Case(
        "a report that comes twice changes nothing",
        settle("a", 3, kind="t"),
        SETTLED,
        TEN_TOKENS,
        [*RUNNING, settle("a", 3, kind="t")],
        {"windows": {TOKENS: (3, 0)}, "learned": {"t": (3,)}},
    ),
    Case(
        "a later report corrects the one before, and what was learned of it",
        settle("a", 5, kind="t"),
        SETTLED,
        TEN_TOKENS,
        [*RUNNING, settle("a", 3, kind="t")],
        {"windows": {TOKENS: (5, 0)}, "learned": {"t": (5,)}},
    ),
    Case(
        "a later report may take back what the one before had added",
        settle("a", 2),
        SETTLED,
        TEN_TOKENS,
        [*RUNNING, settle("a", 9)],
        {"windows": {TOKENS: (2, 0)}},
    ),
    Case(
        "what is free goes to the next at once",
        settle("a", 3),
        SETTLED,
        TEN_TOKENS,
        [submit("a", tokens=8), submit("b", tokens=7), lose(), claim("a")],
        {"broker": {"q": "b"}, "windows": {TOKENS: (3, 7)}, "places": {}},
    ),
    Case(
        "what is free is counted where the task started: others keep theirs",
        settle("b", 1),
        SETTLED,
        TEN_TOKENS,
        [submit("a", tokens=4), lose(), claim("a"), tick(30), submit("b", tokens=6), lose(), claim("b")],
        {"windows": {TOKENS: (5, 0)}},
    ),
    Case(
        "what no longer counts cannot be given back",
        settle("a", 0),
        SETTLED,
        TEN_TOKENS,
        [*RUNNING, tick(61), submit("b", tokens=9), lose(), claim("b")],
        {"windows": {TOKENS: (9, 0)}},
    ),
    Case(
        "every level is settled",
        settle("a", 3),
        SETTLED,
        TWO_LEVELS,
        RUNNING,
        {"windows": {TOKENS: (3, 0), "global:tokens/1h": (3, 0)}},
    ),
    Case(
        "a task that reserved nothing pays what it cost",
        settle("a", 4),
        SETTLED,
        TEN_TOKENS,
        [submit("a"), lose(), claim("a")],
        {"windows": {TOKENS: (4, 0)}},
    ),
    Case(
        "a task that costs more than its limit, which was lowered while it waited, took all of it and no more",
        settle("a", 5),
        SETTLED,
        TEN_TOKENS,
        [
            submit("b", tokens=10),
            submit("a", tokens=9),
            publish({"services": {"api": {"token_limits": {"per_minute": 6}}}}),
            finish("b"),
            lose(),
            dispatch(),
            claim("a"),
        ],
        {"windows": {TOKENS: (5, 0)}},
    ),
    Case(
        "it is settled under the limit that it was charged to, also when another is in force",
        settle("a", 3),
        SETTLED,
        TEN_TOKENS,
        [*RUNNING, publish({"services": {"api": {"requests_per_minute": 9}}})],
        {"windows": {TOKENS: (3, 0)}},
    ),
    Case(
        "requests are not concerned",
        settle("a", 3),
        SETTLED,
        BOTH,
        RUNNING,
        {"windows": {TOKENS: (3, 0), "service:api:requests/1m": (1, 0)}},
    ),
    Case(
        "where no limit counts tokens, nothing happens and nothing is learned",
        settle("a", 3, kind="t"),
        UNCOUNTED,
        {"services": {"api": {"requests_per_minute": 5}}},
        RUNNING,
        {"windows": {"service:api:requests/1m": (1, 0)}, "learned": {}},
    ),
    Case(
        "a task that has not started has cost nothing yet",
        settle("a", 3, kind="t"),
        STALE,
        TEN_TOKENS,
        [submit("a", tokens=8)],
        {"windows": {TOKENS: (0, 8)}, "learned": {}},
    ),
    Case(
        "the report of an attempt that was given up changes nothing",
        settle("a", 3, fence="1"),
        STALE,
        TEN_TOKENS,
        [*RUNNING, tick(10), dispatch()],
        {"leases": {"a": "2"}, "windows": {TOKENS: (0, 8)}},
    ),
    Case("a task that has ended cannot settle", settle("a", 3, fence="1"), STALE, TEN_TOKENS, [*RUNNING, finish("a")]),
)
def test_settle_tokens(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


FAILED = Outcome.FAILED


@table(
    Case(
        "an estimate that was never settled stays charged when the task ends well",
        finish("a"),
        True,
        TEN_TOKENS,
        RUNNING,
        {"windows": {TOKENS: (8, 0)}},
    ),
    Case(
        "a task that failed gives its tokens back, and its request stays counted",
        finish("a", outcome=FAILED),
        True,
        BOTH,
        RUNNING,
        {"windows": {TOKENS: (0, 0), "service:api:requests/1m": (1, 0)}, "leases": {}},
    ),
    Case(
        "what a failed task gives back goes to the next at once",
        finish("a", outcome=FAILED),
        True,
        TEN_TOKENS,
        [submit("a", tokens=8), submit("b", tokens=7), lose(), claim("a")],
        {"broker": {"q": "b"}, "windows": {TOKENS: (0, 7)}, "places": {}},
    ),
    Case(
        "a failed task keeps what it had settled",
        finish("a", outcome=FAILED),
        True,
        TEN_TOKENS,
        [*RUNNING, settle("a", 5)],
        {"windows": {TOKENS: (5, 0)}},
    ),
    Case(
        "a failed task that had settled nothing at all keeps that too",
        finish("a", outcome=FAILED),
        True,
        TEN_TOKENS,
        [*RUNNING, submit("b", tokens=1), settle("a", 0)],
        {"windows": {TOKENS: (0, 1)}},
    ),
    Case(
        "a failed report that comes twice gives back once",
        finish("a", outcome=FAILED, fence="1"),
        False,
        TEN_TOKENS,
        [*RUNNING, submit("b", tokens=2), claim("b"), finish("a", outcome=FAILED)],
        {"windows": {TOKENS: (2, 0)}},
    ),
    Case(
        "a lapsed lease gives back what its task had reserved, and the next attempt reserves anew",
        recover,
        1,
        TEN_TOKENS,
        [*RUNNING, tick(10)],
        {"windows": {TOKENS: (0, 8)}, "leases": {"a": "2"}, "redelivered": {"a": 1}},
    ),
    Case(
        "a lapsed lease keeps what its task had settled, and the next attempt waits for its own",
        recover,
        1,
        TEN_TOKENS,
        [*RUNNING, settle("a", 5), tick(10)],
        {"windows": {TOKENS: (5, 0)}, "leases": {}, "lanes": {"api": "a"}},
    ),
    Case(
        "a task that is put back gives its tokens back",
        put_back("a"),
        True,
        TEN_TOKENS,
        RUNNING,
        {"windows": {TOKENS: (0, 8)}, "leases": {"a": "2"}},
    ),
    Case(
        "a task that is put back keeps what it had settled",
        put_back("a"),
        True,
        TEN_TOKENS,
        [*RUNNING, settle("a", 5)],
        {"windows": {TOKENS: (5, 0)}, "lanes": {"api": "a"}},
    ),
)
def test_tokens_at_the_end_of_an_attempt(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@pytest.mark.parametrize("seed", range(5))
def test_no_window_holds_more_than_its_limit_but_for_what_settlements_overdrew(redis_client: Redis, seed: int) -> None:
    """The judge counts what tasks really spent, at their start, and for overdrafts when they became known."""
    capacity, period_us, rng = 200, 10 * SECOND_US, random.Random(seed)
    realm = Realm(redis_client, {"services": {"api": {"token_limits": {"windows": [{"limit": capacity, "per": "10s"}]}}}})
    spent: list[tuple[int, int]] = []
    overdrawn: list[tuple[int, int]] = []
    number = calls = 0
    while calls < 400:
        for _ in range(rng.randint(0, 3)):
            realm.submit(f"t{(number := number + 1)}", LANES["api"], tokens=rng.randint(1, 60))
        realm.dispatch()
        if message := realm.take():
            calls += 1
            reserved = int(realm.client.hget(realm.keys("lease"), message.task).split(b"\x1e")[3])  # type: ignore[union-attr]
            assert realm.claim(message)
            started_us = realm.now_us
            realm.tick(rng.random())
            actual = rng.choice([0, reserved // 3, reserved, reserved + rng.randint(1, 40)])
            match rng.choice(["settle", "settle", "keep", "fail", "settle and fail"]):
                case "keep":
                    spent.append((started_us, reserved))
                    realm.finish(message)
                case "fail":
                    realm.finish(message, FAILED)
                case verb:
                    assert realm.settle_tokens(message, actual) is SETTLED
                    spent.append((started_us, min(actual, reserved)))
                    overdrawn.append((realm.now_us, max(0, actual - reserved)))
                    realm.finish(message, FAILED if "fail" in verb else Outcome.OK)
        realm.tick(rng.random() * 0.4)

    assert sum(units for _, units in spent) > 5 * capacity
    for at_us, _ in spent:
        in_window = sum(units for time_us, units in spent if at_us - period_us < time_us <= at_us)
        assert in_window <= capacity
    stored = Window.unpack(realm.state().limits["service:api:tokens/10s"])
    recent = sum(units for time_us, units in overdrawn if time_us > realm.now_us - 1.02 * period_us)
    assert stored.used + stored.held <= capacity + recent


def test_a_settlement_above_the_limit_holds_the_next_until_it_has_left_the_window(redis_client: Redis) -> None:
    """663 tokens under a limit of 100 (BerriAI/litellm#18730): spent once, then paid back before anybody goes on."""
    realm = Realm(redis_client, {"services": {"api": {"token_limits": {"per_minute": 100}}}})
    realm.submit("a", LANES["api"], tokens=100)
    message = realm.take()
    assert message is not None
    realm.claim(message)
    realm.settle_tokens(message, 663)
    realm.finish(message)
    realm.submit("b", LANES["api"], tokens=1)

    starts = realm.work_until(EPOCH_US + 120 * SECOND_US)

    assert [name for _, name in starts] == ["b"]
    assert 60 <= (starts[0][0] - EPOCH_US) / SECOND_US <= 61.3


def test_an_estimate_as_large_as_the_limit_does_not_refuse_the_first_call(redis_client: Redis) -> None:
    """BerriAI/litellm#29193."""
    realm = Realm(redis_client, TEN_TOKENS)

    assert realm.submit("a", LANES["api"], tokens=10) == "released"
