"""What `cancel` and `explain` do, case by case."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from turgor.scheduler.explanation import Explanation, TaskState
from turgor.scheduler.scheduler import Cancelled

from .realm import Realm, lane
from .table import (
    GATE,
    LANES,
    ONE_A_MINUTE,
    ONE_AT_A_TIME,
    TEN_TOKENS,
    WINDOW,
    Case,
    Step,
    attend,
    cancel,
    claim,
    dispatch,
    finish,
    lose,
    pause,
    publish,
    silence,
    submit,
    submit_all,
    table,
    tick,
)

CANCELLED, RELEASED, UNKNOWN = Cancelled.CANCELLED, Cancelled.RELEASED, Cancelled.UNKNOWN


@table(
    Case(
        "a waiting task leaves its lane",
        cancel("b"),
        CANCELLED,
        ONE_A_MINUTE,
        [submit_all("a", "b", "c")],
        {"lanes": {"api": "c"}, "places": {"api": GATE}, "messages": ["a", "c"], "windows": {WINDOW: (0, 1)}},
    ),
    Case(
        "the last task of a lane takes the lane along",
        cancel("b"),
        CANCELLED,
        ONE_A_MINUTE,
        [submit_all("a", "b")],
        {"lanes": {}, "places": {}, "wakes": {}, "clocks": {}},
    ),
    Case(
        "a delayed task never comes",
        cancel("a"),
        CANCELLED,
        given=[submit("a", due_in_s=9)],
        after={"delayed": [], "messages": []},
    ),
    Case("a released task is on its way to a worker", cancel("a"), RELEASED, given=[submit("a")], after={"messages": ["a"]}),
    Case("a running task is not stopped", cancel("a"), RELEASED, given=[submit("a"), claim("a")], after={"messages": ["a"]}),
    Case("a task that nobody knows", cancel("a"), UNKNOWN, after={"messages": []}),
    Case("a task that has ended", cancel("a"), UNKNOWN, given=[submit("a"), finish("a")], after={"messages": []}),
    Case(
        "a task that is not in that lane stays where it is",
        cancel("b", "git"),
        UNKNOWN,
        ONE_A_MINUTE,
        [submit_all("a", "b")],
        {"lanes": {"api": "b"}, "messages": ["a", "b"]},
    ),
    Case(
        "a task of another cost stays where it is",
        cancel("b", weight=2),
        UNKNOWN,
        ONE_A_MINUTE,
        [submit_all("a", "b")],
        {"lanes": {"api": "b"}, "messages": ["a", "b"]},
    ),
    Case(
        "who waited behind a costly task does not wait for its cost any longer",
        cancel("b", tokens=9),
        CANCELLED,
        TEN_TOKENS,
        [submit("a", tokens=8), submit("b", tokens=9), submit("c", tokens=1), silence],
        {"lanes": {"api": "c"}, "bell": True},
    ),
    Case(
        "the last task of a lane leaves no trace at a limit that was taken away since",
        cancel("b"),
        CANCELLED,
        ONE_A_MINUTE,
        [submit_all("a", "b"), publish({})],
        {"lanes": {}, "places": {}, "wakes": {}},
    ),
    Case(
        "a task that came back from a lost worker leaves no trace",
        cancel("a"),
        CANCELLED,
        ONE_A_MINUTE,
        [submit("a"), lose(), claim("a"), tick(10), dispatch()],
        {"redelivered": {}, "lanes": {}},
    ),
)
def test_cancel(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


def explain(name: str, to: str = "api", **cost: int) -> Step:
    """All but the history, which has a table of its own."""
    return lambda realm: replace(realm.scheduler.explain(name, LANES[to], **cost, now_us=realm.now_us), history=())


@table(
    Case(
        "a waiting task: how many are before it, what holds it, and until when",
        explain("c"),
        Explanation("c", TaskState.WAITING, 1, "service:api requests/1m", 60, 120),
        ONE_A_MINUTE,
        [submit_all("a", "b", "c")],
    ),
    Case(
        "a waiting task that nothing holds any more",
        explain("b"),
        Explanation("b", TaskState.WAITING, expected_in_s=0.0),
        ONE_A_MINUTE,
        [submit_all("a", "b"), publish({})],
    ),
    Case(
        "a waiting task whose slots are taken: nobody knows when work ends",
        explain("b"),
        Explanation("b", TaskState.WAITING, 0, "service:api in_flight", math.inf),
        {"services": {"api": {"max_in_flight": 1}}},
        [submit_all("a", "b")],
    ),
    Case(
        "a waiting task whose queue is full",
        explain("b"),
        Explanation("b", TaskState.WAITING, 0, "queue:q ahead", 1),
        given=[attend(q=1), submit_all("a", "b")],
    ),
    Case(
        "a delayed task",
        explain("a"),
        Explanation("a", TaskState.DELAYED, opens_in_s=9, expected_in_s=9),
        given=[submit("a", due_in_s=9)],
    ),
    Case("a released task", explain("a"), Explanation("a", TaskState.RELEASED), given=[submit("a")]),
    Case("a running task", explain("a"), Explanation("a", TaskState.RUNNING), given=[submit("a"), claim("a")]),
    Case("a task that has ended", explain("a"), Explanation("a", TaskState.UNKNOWN), given=[submit("a"), finish("a")]),
    Case(
        "a task that is not in that lane",
        explain("b", "git"),
        Explanation("b", TaskState.UNKNOWN),
        ONE_A_MINUTE,
        [submit_all("a", "b")],
    ),
)
def test_explain(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


def history(name: str, to: str = "api") -> Step:
    return lambda realm: [str(each) for each in realm.scheduler.explain(name, LANES[to], now_us=realm.now_us).history]


NESTED: dict[str, Any] = {**ONE_A_MINUTE, "loops": {"a": {"windows": [{"limit": 1, "per": "2m"}]}}}
API, LOOP = "service:api requests", "loop:a requests"


@table(
    Case("what parked a lane", history("b"), [f"{API} 0.0 s ago"], ONE_A_MINUTE, [submit_all("a", "b")]),
    Case(
        "a task behind it in its lane has that history too",
        history("c"),
        [f"{API} 20.0 s ago"],
        ONE_A_MINUTE,
        [submit_all("a", "b"), tick(20), submit("c")],
    ),
    Case(
        "a limit that lets a task go and holds the next one is no news",
        history("c"),
        [f"{API} 61.0 s ago"],
        ONE_A_MINUTE,
        [submit("a"), claim("a"), finish("a"), submit_all("b", "c"), tick(61), dispatch(), dispatch()],
    ),
    Case(
        "a limit that another one let it go to comes before that",
        history("c", "api of a"),
        [f"{LOOP} 60.0 s ago", f"{API} 121.0 s ago"],
        NESTED,
        [submit("a"), claim("a"), finish("a"), submit_all("b", "c", to="api of a"), tick(61), dispatch(), tick(60)],
    ),
    Case("a full queue", history("b"), ["queue:q requests 0.0 s ago"], given=[attend(q=1), submit_all("a", "b")]),
    Case("nothing has held a task that was released at once", history("a"), [], ONE_A_MINUTE, [submit("a")]),
)
def test_the_history(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


FIVE_A_MINUTE: dict[str, Any] = {"services": {"api": {"requests_per_minute": 5}}}
NINE = tuple("abcdefghi")


def forecast(name: str, to: str = "api", **cost: int) -> Step:
    return lambda realm: realm.scheduler.explain(name, LANES[to], **cost, now_us=realm.now_us).expected_in_s


@table(
    Case("the rest of a window's period, for the next five", forecast("i"), 60, FIVE_A_MINUTE, [submit_all(*NINE), tick(0)]),
    Case("and a period more for those behind them", forecast("b"), 120, ONE_A_MINUTE, [submit("x"), submit_all("a", "b")]),
    Case(
        "a period that has begun counts as far as it is left",
        forecast("a"),
        50.25,
        ONE_A_MINUTE,
        [submit("x"), claim("x"), submit("a"), tick(10)],
    ),
    Case(
        "lanes of one priority take turns at the gate",
        forecast("b2", "api of b"),
        240,
        ONE_A_MINUTE,
        [submit("x"), submit_all("b1", "b2", to="api of b"), submit_all("a1", "a2", to="api of a")],
    ),
    Case(
        "a lane of a lower priority goes behind all that wait at the gate",
        forecast("low", "api low"),
        120,
        ONE_A_MINUTE,
        [submit_all("x", "a"), submit("low", "api low")],
    ),
    Case("a token limit counts what tasks cost", forecast("b", tokens=5), 60, TEN_TOKENS, [submit_all("x", "a", "b", tokens=5)]),
    Case("nobody knows when work will end", forecast("b"), None, ONE_AT_A_TIME, [submit_all("a", "b")]),
    Case("nobody knows when a pause will", forecast("b"), None, ONE_A_MINUTE, [pause("service:api"), submit_all("a", "b")]),
)
def test_the_expected_start(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


def test_what_was_expected_is_what_comes(redis_client: Redis) -> None:
    """Two loops take turns at three a minute; each task is claimed when it is released."""
    realm = Realm(redis_client, {"services": {"api": {"requests_per_minute": 3}}})
    names = {f"{loop}{number}": f"api of {loop}" for number in range(6) for loop in "ab"}
    for name, to in names.items():
        realm.submit(name, LANES[to])
    expected = {name: forecast(name, to)(realm) for name, to in names.items()}
    started: dict[str, float] = {}
    for second in range(300):
        realm.dispatch()
        while message := realm.take():
            realm.claim(message)
            realm.finish(message)
            started[message.task] = second
        realm.tick(1)
    waited = {name: seconds for name, seconds in started.items() if seconds}
    assert len(waited) == 9
    assert {name: expected[name] for name in waited} == pytest.approx(waited, abs=4)


def test_of_many_lanes_at_a_gate_those_far_behind_take_their_turns_too(redis_client: Redis) -> None:
    realm = Realm(redis_client, ONE_A_MINUTE)
    lanes = [lane("api", loop=f"loop-{number:03}") for number in range(100)]
    for number, each in enumerate(lanes):
        for turn in range(2):
            realm.submit(f"{number}-{turn}", each)
    last = realm.scheduler.explain("99-1", lanes[-1], now_us=realm.now_us)
    assert last.expected_in_s == pytest.approx(60 * 199, rel=0.02)
