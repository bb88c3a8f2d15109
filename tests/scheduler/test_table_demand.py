"""What `demand` sees of a realm, case by case, and what `attend` and `finish` write down for it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from redis import Redis

from turgor.limits.outcome import Outcome
from turgor.scheduler.demand import Demand, Presence
from turgor.scheduler.desired_workers import desired_workers

from .realm import Realm, State, lane
from .table import (
    LANES,
    ONE_A_MINUTE,
    ONE_AT_A_TIME,
    TEN_TOKENS,
    Case,
    claim,
    close,
    finish,
    pause,
    submit,
    submit_all,
    table,
    tick,
)

BUCKET: dict[str, Any] = {"services": {"api": {"requests_per_minute": 60, "burst_capacity": 10}}}
AN_HOUR: dict[str, Any] = {"services": {"api": {"windows": [{"limit": 2, "per": "1h"}]}}}
HALF_A_MINUTE: dict[str, Any] = {"services": {"api": {"windows": [{"limit": 20, "per": "30s"}]}}}
TWO_A_SECOND: dict[str, Any] = {"services": {"api": {"requests_per_second": 2}}}


def look(realm: Realm, *queues: str, horizon_s: float = 10) -> Demand:
    return realm.scheduler.demand(horizon_s=horizon_s, queues=queues, now_us=realm.now_us)


def seen(*queues: str, **options: Any) -> Any:
    """The demand as a row says it: ready, lanes as (service, waiting, limits by name), limits as (until then, slots, taken)."""

    def call(realm: Realm) -> Any:
        demand = look(realm, *queues, **options)
        names = [limit.name.removeprefix("service:") for limit in demand.limits]
        return {
            "ready": demand.ready,
            "lanes": [
                (each.service, each.waiting, " ".join(names[at].split()[1] for at in each.limits)) for each in demand.lanes
            ],
            "limits": {
                name: round(limit.until_then, 3) if limit.slots is None else (limit.slots, limit.taken)
                for name, limit in zip(names, demand.limits, strict=True)
            },
        }

    return call


def be_there(worker: str = "w", presence: Presence | None = None, **slots: int) -> Any:
    said = presence or Presence(2, 1, 0, 0, 1)
    return lambda realm: realm.scheduler.attend(worker, slots or {"q": 1}, presence=said, now_us=realm.now_us)


def unlimited(*lists: str) -> Any:
    return lambda realm: [realm.client.lpush(each, '{"task": "free", "fence": 0}') for each in lists]


def take(realm: Realm) -> None:
    realm.take()


def nothing(ready: int = 0) -> dict[str, Any]:
    return {"ready": ready, "lanes": [], "limits": {}}


@table(
    Case("of an empty realm nothing is seen", seen(), nothing()),
    Case("what is released and not claimed lies ready", seen(), nothing(2), given=[submit_all("a", "b")]),
    Case("what runs does not", seen(), nothing(1), given=[submit_all("a", "b"), take, claim("a")]),
    Case(
        "what is released and lies in the list still is counted once, and unlimited messages beside it",
        seen(),
        nothing(4),
        given=[be_there(q=9), submit_all("a", "b"), unlimited("q", "q")],
    ),
    Case(
        "kombu's lists for priorities count",
        seen(),
        nothing(3),
        given=[
            be_there(q=9),
            unlimited("q\x06\x163", "q\x06\x166", "q\x06\x169"),
        ],
    ),
    Case(
        "what waits for a worker is seen with its limits, of which the queue's room is none",
        seen(),
        {"ready": 1, "lanes": [("api", 2, "requests/1m burst")], "limits": {"api requests/1m": 59.0, "api burst": 19.0}},
        BUCKET,
        [be_there(), submit_all("a", "b", "c")],
    ),
    Case(
        "a bucket gives what it has and what comes back: 0 + 10 x 1",
        seen(),
        {"ready": 10, "lanes": [("api", 2, "requests/1m burst")], "limits": {"api requests/1m": 50.0, "api burst": 10.0}},
        BUCKET,
        [submit_all(*(str(n) for n in range(12)))],
    ),
    Case(
        "a window that is used up gives nothing before its starts leave it",
        seen(),
        {"ready": 0, "lanes": [("api", 1, "requests/1h")], "limits": {"api requests/1h": 0.0}},
        AN_HOUR,
        [submit_all("a", "b"), claim("a"), claim("b"), finish("a"), finish("b"), submit("c"), tick(1800)],
    ),
    Case(
        "a window gives what leaves it until the horizon",
        seen(),
        {"ready": 0, "lanes": [("api", 1, "requests/1h")], "limits": {"api requests/1h": 2.0}},
        AN_HOUR,
        [submit_all("a", "b"), claim("a"), claim("b"), finish("a"), finish("b"), submit("c"), tick(3595)],
    ),
    Case(
        "a window that comes round more than once gives its capacity each time: 2 - 2 + 10 x 2",
        seen(),
        {"ready": 2, "lanes": [("api", 1, "requests/1s")], "limits": {"api requests/1s": 20.0}},
        TWO_A_SECOND,
        [submit_all("a", "b", "c")],
    ),
    Case(
        "slots are free or taken",
        seen(),
        {"ready": 0, "lanes": [("api", 1, "in_flight")], "limits": {"api in_flight": (0, 1)}},
        ONE_AT_A_TIME,
        [submit_all("a", "b"), claim("a")],
    ),
    Case(
        "a scope that is paused gives nothing",
        seen(),
        {"ready": 0, "lanes": [("api", 1, "requests/1m paused")], "limits": {"api paused": 0.0, "api requests/1m": 1.0}},
        ONE_A_MINUTE,
        [pause("service:api"), submit("a")],
    ),
    Case(
        "a scope that opens within the horizon is not in the way",
        seen(),
        {"ready": 0, "lanes": [("api", 1, "requests/1m")], "limits": {"api requests/1m": 1.0}},
        ONE_A_MINUTE,
        [close("service:api", 9), submit("a")],
    ),
    Case(
        "one that opens later is",
        seen(),
        {"ready": 0, "lanes": [("api", 1, "requests/1m closed")], "limits": {"api closed": 0.0, "api requests/1m": 1.0}},
        ONE_A_MINUTE,
        [close("service:api", 11), submit("a")],
    ),
    Case(
        "a limit in the shadow holds nothing",
        seen(),
        {"ready": 1, "lanes": [("api", 1, "")], "limits": {}},
        {"services": {"api": {"requests_per_minute": 1, "shadow": True}}},
        [be_there(), submit_all("a", "b")],
    ),
    Case(
        "of some queues only their work is seen",
        seen("q2"),
        {"ready": 1, "lanes": [("git", 1, "")], "limits": {}},
        {"services": {"api": {"requests_per_minute": 1}}},
        [be_there(q=1, q2=1), submit_all("a", "b"), submit_all("c", "d", to="git on q2")],
    ),
    Case("a delayed task asks for nobody before its time", seen(), nothing(), given=[submit("a", due_in_s=5)]),
)
def test_demand(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


def test_a_lane_says_what_its_first_task_costs(redis_client: Redis) -> None:
    realm = Realm(redis_client, TEN_TOKENS)
    realm.submit("a", LANES["api"], tokens=8)
    realm.submit("b", LANES["api"], tokens=7, weight=3)
    (waiting,) = look(realm).lanes
    assert (waiting.requests, waiting.tokens) == (3, 7)


def test_looking_changes_nothing(redis_client: Redis) -> None:
    realm = Realm(redis_client, HALF_A_MINUTE)
    be_there()(realm)
    for n in range(30):
        realm.submit(str(n), lane("api", loop=f"l{n}"))
    before = realm.state()
    look(realm)
    assert dataclasses.asdict(realm.state()) == dataclasses.asdict(before)


CROWD = 1000


def test_of_very_many_lanes_some_are_looked_at_and_the_others_count_as_one_task_each(redis_client: Redis) -> None:
    """Behind one gate, and behind a gate each."""
    realm = Realm(redis_client, {"services": {"api": {"requests_per_minute": 60}}, "loops": {"*": {"requests_per_minute": 1}}})
    be_there(q=2000)(realm)
    realm.submit_many(realm.task(f"a{n}", lane("api", loop=f"l{n}")) for n in range(CROWD))
    demand = look(realm)
    assert demand.waiting == CROWD - 60
    assert len(demand.lanes) <= 130
    realm = Realm(redis_client, {"loops": {"*": {"requests_per_minute": 12}}}, name="each")
    be_there(q=2000)(realm)
    for _ in range(13):
        realm.submit_many(realm.task(f"{_}a{n}", lane(loop=f"l{n}")) for n in range(100))
    realm.tick(55)
    demand = look(realm)
    assert len(demand.lanes) <= 130
    assert demand.waiting == 100


@pytest.mark.parametrize("many_gates", [False, True])
def test_a_look_at_very_much_is_bounded(redis_client: Redis, many_gates: bool) -> None:
    """The server's own clock, so that it is the script alone that is measured; the goal is 5 ms on a quiet machine."""
    limits = {"loops": {"*": {"requests_per_minute": 1}}} if many_gates else {"services": {"api": {"requests_per_minute": 1}}}
    realm = Realm(redis_client, limits)
    be_there(q=5000)(realm)
    for _ in range(2):
        realm.submit_many(realm.task(f"{_}a{n}", lane("api", loop=f"l{n}")) for n in range(2000))
    look(realm)
    redis_client.config_resetstat()
    for _ in range(5):
        look(realm)
    per_call_us = redis_client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"]
    assert per_call_us < 20_000, f"{per_call_us} µs a look"


def presences(state: State) -> dict[str, str]:
    return {name: record.decode().partition(" ")[2].replace("\x1f", " @") for name, record in state.keys.get("crew", {}).items()}


def test_a_worker_says_what_it_does_until_it_leaves_or_falls_silent(redis_client: Redis) -> None:
    realm = Realm(redis_client)
    be_there("first", Presence(4, 3, 2, 1_500_000, 1), q=8, q2=8)(realm)
    realm.tick(15)
    be_there("second", Presence(2, 0, 0, 0, 0), q=8)(realm)
    assert presences(realm.state()) == {"first": "4 3 2 1500000 1 @q @q2", "second": "2 0 0 0 0 @q"}
    assert look(realm).crew == {"first": Presence(4, 3, 2, 1_500_000, 1), "second": Presence(2, 0, 0, 0, 0)}
    assert look(realm).ready == 2, "what a worker holds lies ready"
    assert set(look(realm, "q2").crew) == {"first"}
    realm.tick(6)
    assert set(look(realm).crew) == {"second"}, "the first is silent"
    be_there("second", q=0)(realm)
    assert presences(realm.state()) == {}, "nobody keeps those that are gone"


def test_a_worker_that_says_nothing_of_itself_is_no_member_of_the_crew(redis_client: Redis) -> None:
    realm = Realm(redis_client)
    realm.attend("w", {"q": 3})
    assert "crew" not in realm.state().keys


def run_for(realm: Realm, name: str, seconds: float, to: str = "api", outcome: Outcome | None = None) -> None:
    realm.submit(name, LANES[to])
    message = realm.take()
    assert message is not None
    realm.claim(message)
    realm.tick(seconds)
    realm.finish(message, outcome)


def run_times(realm: Realm) -> dict[str, str]:
    return {service: record.decode() for service, record in realm.state().keys.get("run_times", {}).items()}


def test_a_long_run_is_always_noted_for_its_service_and_for_all(redis_client: Redis) -> None:
    realm = Realm(redis_client)
    run_for(realm, "a", 4)
    run_for(realm, "b", 8)
    run_for(realm, "c", 3, "git")
    assert run_times(realm) == {"api": "6000000 2", "git": "3000000 1", "*": "5000000 3"}
    assert look(realm).run_times_us == {"api": 6_000_000, "git": 3_000_000, "*": 5_000_000}


def test_of_short_runs_each_sixteenth_stands_for_sixteen(redis_client: Redis) -> None:
    realm = Realm(redis_client)
    for n in range(15):
        run_for(realm, f"short {n}", 0.5)
    assert run_times(realm) == {}
    run_for(realm, "sixteenth", 0.25)
    assert run_times(realm) == {"api": "250000 16", "*": "250000 16"}
    run_for(realm, "long", 17.25)
    assert run_times(realm)["api"] == "1250000 17"


def test_the_mean_forgets_what_is_long_ago(redis_client: Redis) -> None:
    realm = Realm(redis_client)
    realm.client.hset(realm.keys("run_times"), mapping={"api": "1000000 256"})
    run_for(realm, "a", 257)
    assert run_times(realm)["api"] == "2000000 256"


@pytest.mark.parametrize("outcome", [None, *Outcome])
def test_how_it_ended_does_not_matter(redis_client: Redis, outcome: Outcome | None) -> None:
    realm = Realm(redis_client, {"services": {"api": {"breaker": True, "max_in_flight": 3}}})
    run_for(realm, "a", 2, outcome=outcome)
    assert run_times(realm) == {"api": "2000000 1", "*": "2000000 1"}


def test_one_that_never_started_has_no_run_time(redis_client: Redis) -> None:
    realm = Realm(redis_client)
    realm.submit("a", LANES["api"])
    message = realm.take()
    assert message is not None
    realm.tick(3)
    realm.finish(message)
    assert run_times(realm) == {}


def test_a_limit_that_opens_is_answered_with_more_workers_and_one_that_closes_with_fewer(redis_client: Redis) -> None:
    """From the realm to the number: 30 a minute of 4 s each keep 2 busy; work that is not limited wants what it can get."""
    realm = Realm(redis_client, {"services": {"api": {"requests_per_minute": 30, "burst_capacity": 1}}})
    be_there("w", Presence(1, 0, 0, 0, 1), q=1)(realm)
    realm.client.hset(realm.keys("run_times"), mapping={"api": "4000000 100", "*": "4000000 100"})
    for n in range(100):
        realm.submit(str(n), LANES["api"])
    message = realm.take()
    assert message is not None
    realm.claim(message)
    be_there("w", Presence(1, 1, 0, 0, 1), q=1)(realm)
    assert str(desired_workers(look(realm))) == "2 desired, 1 there (worker-bound)"
    be_there("w", Presence(3, 1, 0, 0, 1), q=1)(realm)
    assert str(desired_workers(look(realm))) == "2 desired, 3 there (limit-bound: service:api burst)"
    realm.regulator.pause("service:api", now_us=realm.now_us)
    assert str(desired_workers(look(realm))) == "1 desired, 3 there (limit-bound: service:api paused)"
    realm.regulator.resume("service:api", now_us=realm.now_us)
    realm.publish({"services": {"api": {}}})
    realm.dispatch()
    assert str(desired_workers(look(realm))) == "40 desired, 3 there (worker-bound)"
