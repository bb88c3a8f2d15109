"""Work behind a scope that is paused or closed: it waits in its lanes, and goes on when it may."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from turgor.scheduler.waiting_task import Submitted

from .realm import Realm, lane
from .table import (
    GATE,
    ONE_A_MINUTE,
    SLOTS,
    WINDOW,
    Case,
    cancel,
    claim,
    close,
    dispatch,
    explain,
    finish,
    pause,
    resume,
    silence,
    submit,
    submit_all,
    table,
    throttle,
    tick,
)

API = "service:api"
UNLIMITED: dict[str, Any] = {"services": {"api": {}}}
PLENTY: dict[str, Any] = {"services": {"api": {"requests_per_minute": 100}, "git": {}}}


def refused(call: Any) -> Any:
    def message(realm: Realm) -> str:
        with pytest.raises(ValueError) as caught:  # noqa: PT011  the message is the reply
            call(realm)
        return str(caught.value)

    return message


def released(call: Any) -> Any:
    return lambda realm: call(realm).released


@table(
    Case(
        "work of a paused scope waits at its gate, though the scope has no limits",
        limits=UNLIMITED,
        given=[pause(API)],
        call=submit("a"),
        reply=Submitted.WAITING,
        after={"places": {"api": GATE}, "wakes": {GATE: 1.0}, "leases": {}, "windows": {}},
    ),
    Case(
        "work of a closed scope waits until it opens",
        limits=ONE_A_MINUTE,
        given=[close(API, 30)],
        call=submit("a"),
        reply=Submitted.WAITING,
        after={"places": {"api": GATE}, "wakes": {GATE: 30.0}, "windows": {}},
    ),
    Case(
        "a closed scope concerns nobody else",
        limits=PLENTY,
        given=[close(API, 30)],
        call=submit("a", "git"),
        reply=Submitted.RELEASED,
    ),
    Case(
        "a closed endpoint holds its own work",
        limits=PLENTY,
        given=[close("endpoint:api/chat", 30), submit("a", "chat")],
        call=submit("b", "api"),
        reply=Submitted.RELEASED,
        after={"places": {"chat": "endpoint:api/chat|requests"}},
    ),
    Case(
        "a closed realm holds all that comes through the gate",
        limits=PLENTY,
        given=[close("global", 30), submit("a", "chat")],
        call=submit("b", "git"),
        reply=Submitted.WAITING,
        after={"places": {"chat": "global|requests", "git": "global|requests"}},
    ),
    Case(
        "nobody waits for an unlimited lane",
        limits=PLENTY,
        given=[pause("global")],
        call=submit("a", "free"),
        reply=Submitted.RELEASED,
    ),
    Case(
        "a dispatcher finds the closed scope open when its time has come",
        limits=UNLIMITED,
        given=[close(API, 30), submit_all("a", "b"), tick(30)],
        call=released(dispatch()),
        reply=1,
        after={"broker": {"q": "a"}, "places": {"api": GATE}, "wakes": {GATE: 0.5}},
    ),
    Case(
        "what opens releases as a ramp",
        limits=UNLIMITED,
        given=[close(API, 30), submit_all(*"abcdefgh"), tick(30), dispatch(), tick(0.5), dispatch(), tick(0.5)],
        call=released(dispatch()),
        reply=2,
        after={"broker": {"q": "a b c d"}, "wakes": {GATE: 0.125}},
    ),
    Case(
        "what is closed again for less than its ramp would have waited is tried when it opens",
        limits=UNLIMITED,
        given=[close(API, 30), submit_all("a", "b"), tick(30), dispatch(), tick(0.1)],
        call=lambda realm: realm.regulator.close(API, 0.2, now_us=realm.now_us).closed_for_s,
        reply=0.2,
        after={"wakes": {GATE: 0.2}, "bell": True},
    ),
    Case(
        "a closure of what opens later anyhow wakes nobody",
        limits=UNLIMITED,
        given=[close(API, 30), submit_all("a", "b"), tick(30), dispatch(), silence],
        call=lambda realm: realm.regulator.close(API, 0.6, now_us=realm.now_us).closed_for_s,
        reply=0.6,
        after={"wakes": {GATE: 0.5}, "bell": False},
    ),
    Case(
        "resuming rings, and the dispatcher releases at once",
        limits=UNLIMITED,
        given=[pause(API), submit_all("a", "b"), silence, tick(0.2), resume(API)],
        call=released(dispatch()),
        reply=2,
        after={"broker": {"q": "a b"}, "lanes": {}, "wakes": {}, "bell": True},
    ),
    Case(
        "resuming in the middle of a closure opens at once",
        limits=UNLIMITED,
        given=[close(API, 3600), submit_all("a", "b"), resume(API)],
        call=released(dispatch()),
        reply=2,
        after={"lanes": {}},
    ),
    Case(
        "resuming what nobody waits for rings, and that is all",
        limits=UNLIMITED,
        given=[resume(API)],
        call=released(dispatch()),
        reply=0,
        after={"bell": True, "wakes": {}},
    ),
    Case(
        "a pause is looked for at times, whoever forgot to ring",
        limits=UNLIMITED,
        given=[pause(API), submit("a"), tick(1)],
        call=lambda realm: realm.dispatch().next_in_s,
        reply=1.0,
        after={"places": {"api": GATE}},
    ),
    Case(
        "work that is released already runs, and its followers wait",
        limits=UNLIMITED,
        given=[submit("a"), pause(API), submit("b"), claim("a"), finish("a")],
        call=released(dispatch()),
        reply=0,
        after={"lanes": {"api": "b"}, "leases": {}},
    ),
    Case(
        "a lease keeps nothing of what held its task back",
        limits=UNLIMITED,
        given=[close(API, 1), submit("a"), tick(1), dispatch(), claim("a")],
        call=finish("a"),
        reply=True,
        after={"leases": {}, "windows": {}, "slots": {}},
    ),
    Case(
        "a paused scope binds before a limit that opens later",
        limits=ONE_A_MINUTE,
        given=[submit_all("a", "b"), pause(API)],
        call=explain("b"),
        reply="b: waiting, 0 ahead in its lane, held until it is resumed: service:api paused",
    ),
    Case(
        "a closed scope says when it opens",
        limits=UNLIMITED,
        given=[close(API, 30), submit("a"), tick(10)],
        call=explain("a"),
        reply="a: waiting, 0 ahead in its lane, held by service:api closed, which opens in 20.0 s",
    ),
    Case(
        "work is cancelled behind a pause",
        limits=UNLIMITED,
        given=[pause(API), submit("a")],
        call=cancel("a"),
        reply="cancelled",
        after={"lanes": {}, "places": {}},
    ),
)
def test_held_back(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@table(
    Case(
        "a throttled task closes its service and is the first to go when it opens",
        limits=PLENTY,
        given=[submit_all("a", "b", "c"), claim("a")],
        call=throttle("a"),
        reply=True,
        after={
            "lanes": {"api": "a"},
            "places": {"api": GATE},
            "wakes": {GATE: 30.0},
            "leases": {"b": "2", "c": "3"},
            "messages": ["a", "b", "c"],
            "redelivered": {"a": 0},
        },
    ),
    Case(
        "a throttled task goes out again under a new fence",
        limits=UNLIMITED,
        given=[submit("a"), claim("a"), throttle("a"), submit("b"), tick(30)],
        call=released(dispatch()),
        reply=1,
        after={"leases": {"a": "2"}, "lanes": {"api": "b"}},
    ),
    Case(
        "a task of an endpoint closes the endpoint alone",
        limits=PLENTY,
        given=[submit("a", "chat"), claim("a"), throttle("a")],
        call=submit("b", "api"),
        reply=Submitted.RELEASED,
        after={"wakes": {"endpoint:api/chat|requests": 30.0}},
    ),
    Case(
        "what a throttled call spent in a window stays spent, and its slot is free",
        limits={"services": {"api": {"requests_per_minute": 100, "max_in_flight": 1}}},
        given=[submit("a"), claim("a")],
        call=throttle("a"),
        reply=True,
        after={"windows": {WINDOW: (1, 0)}, "slots": {}},
    ),
    Case(
        "whoever is throttled second closes nothing twice",
        limits=UNLIMITED,
        given=[submit_all("a", "b"), claim("a"), claim("b"), throttle("a", 30), tick(1)],
        call=throttle("b", 10),
        reply=True,
        after={"lanes": {"api": "b a"}, "wakes": {GATE: 29.0}},
    ),
    Case(
        "a report with an old fence closes nothing",
        limits=UNLIMITED,
        given=[submit("a"), claim("a")],
        call=throttle("a", fence="7"),
        reply=False,
        after={"leases": {"a": "1 w"}, "regulated": []},
    ),
    Case(
        "a report that comes twice changes nothing more",
        limits=UNLIMITED,
        given=[submit("a"), claim("a"), throttle("a", 30)],
        call=throttle("a", 60, fence="1"),
        reply=False,
        after={"lanes": {"api": "a"}, "wakes": {GATE: 30.0}},
    ),
    Case(
        "a task that calls no service has nothing to close, and goes on",
        limits={"global": {"requests_per_minute": 10}},
        given=[submit("a", "plain"), claim("a")],
        call=refused(throttle("a")),
        reply="task 'a' calls no service, so nothing can be closed: name its service",
        after={"leases": {"a": "1 w"}, "regulated": []},
    ),
)
def test_throttle(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


def test_work_that_waited_too_long_names_the_pause(redis_client: Redis) -> None:
    realm = Realm(redis_client, UNLIMITED)
    realm.regulator.pause(API, now_us=realm.now_us)
    realm.submit("a", lane("api"), max_wait_s=5)
    realm.tick(5)
    realm.dispatch()

    assert [expired.held_by for expired in realm.scheduler.expired()] == ["service:api paused"]


@pytest.mark.parametrize("lanes", [1, 200])
def test_all_lanes_behind_a_pause_go_on_when_it_is_lifted(redis_client: Redis, lanes: int) -> None:
    """Narrow gates sleep while their best lane waits at a wider one, and a pause has no time to wake them."""
    realm = Realm(redis_client, {"services": {"api": {"endpoints": {"*": {"requests_per_minute": 60}}}}})
    realm.attend("w", {"q": 1_000})
    realm.regulator.pause(API, now_us=realm.now_us)
    for number in range(lanes * 3):
        realm.submit(f"t{number}", lane("api", f"e{number % 7}", loop=f"l{number % lanes}"))
    realm.tick(10)
    assert realm.work_until(realm.now_us + 5_000_000) == []
    for number in range(lanes):
        realm.cancel(f"t{number}", lane("api", f"e{number % 7}", loop=f"l{number % lanes}"))
    realm.regulator.resume(API, now_us=realm.now_us)
    log = realm.work_until(realm.now_us + 1_000_000)

    assert sorted(name for _, name in log) == sorted(f"t{number}" for number in range(lanes, lanes * 3))


def test_a_pause_of_many_lanes_is_looked_at_through_one_gate(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {}}})
    realm.regulator.pause(API, now_us=realm.now_us)
    for number in range(500):
        realm.submit(f"t{number}", lane("api", loop=f"l{number}"))
    realm.tick(5)
    redis_client.config_resetstat()
    realm.dispatch()
    commands = sum(stat["calls"] for name, stat in redis_client.info("commandstats").items() if name != "cmdstat_info")

    assert len(realm.state().gates["service:api|requests"]) == 500
    assert commands < 60


@table(
    Case(
        "a shadow limit holds no task, and counts the tasks that it would have held",
        limits={"services": {"api": {"requests_per_minute": 1, "max_in_flight": 1, "shadow": True}}},
        given=[submit_all("a", "b"), claim("a")],
        call=submit("c"),
        reply=Submitted.RELEASED,
        after={"windows": {WINDOW: (1, 2)}, "slots": {SLOTS: ["a", "b", "c"]}, "shadowed": {WINDOW: 2, SLOTS: 2}, "lanes": {}},
    ),
    Case(
        "a slot of a shadow is freed when the task ends",
        limits={"services": {"api": {"max_in_flight": 1, "shadow": True}}},
        given=[submit_all("a", "b"), claim("a")],
        call=finish("a"),
        reply=True,
        after={"slots": {SLOTS: ["b"]}},
    ),
    Case(
        "a task that costs more than a shadow holds is accepted",
        limits={"services": {"api": {"token_limits": {"per_minute": 10}, "shadow": True}}},
        given=[],
        call=submit("a", tokens=11),
        reply=Submitted.RELEASED,
    ),
    Case(
        "what holds a task is never a shadow",
        limits={
            "services": {"api": {"windows": [{"limit": 1, "per": "1h", "shadow": True}, {"limit": 2, "per": "1s"}]}},
        },
        given=[submit_all("a", "b", "c")],
        call=explain("c"),
        reply="c: waiting, 0 ahead in its lane, held by service:api requests/1s, which opens in 1.0 s; "
        "expected to start in 1.0 s",
    ),
)
def test_shadow(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)
