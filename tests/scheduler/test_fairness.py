"""Who is served next, and what waiting costs: judged by releases and by counted commands, never by the time that a call took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

import pytest
from redis import Redis

from turgor.scheduler.lane import Lane, Priority
from turgor.scheduler.scheduler import SECOND_US
from turgor.scheduler.waiting_task import Submitted

from .realm import EPOCH_US, Realm, lane

TEN_A_SECOND: dict[str, Any] = {"services": {"api": {"windows": [{"limit": 10, "per": "1s"}]}}}
# Of the test, and of a connection that is new.
NOT_ITS_WORK = {"cmdstat_info", "cmdstat_flushdb", "cmdstat_hello", "cmdstat_client|setinfo"}


def jain(shares: Iterable[float]) -> float:
    """R. Jain's index of fairness (1984): (Σx)² / (n Σx²), 1 where all are equal, 1/n where one has everything."""
    found = list(shares)
    return sum(found) ** 2 / (len(found) * sum(share * share for share in found))


def commands(client: Redis) -> int:
    """Commands that the server has run, those inside scripts included."""
    stats = cast("dict[str, dict[str, int]]", client.info("commandstats"))
    return sum(stat["calls"] for name, stat in stats.items() if name not in NOT_ITS_WORK)


def submit_lanes(realm: Realm, count: int, *, service: str = "api", first: int = 0) -> None:
    """One task in each of many lanes."""
    numbers = range(first, first + count)
    realm.submit_many(realm.task(f"{service}{number}", lane(service, loop=f"{service}-{number}")) for number in numbers)


def test_jain_by_hand() -> None:
    assert jain([1, 1, 1, 1]) == 1
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([3, 1]) == 0.8


# Fair shares


def serve(realm: Realm, count: int) -> list[str]:
    """Let one worker after the other take a message and run it, until `count` tasks have run. Returns their names."""
    served: list[str] = []
    while len(served) < count:
        if message := realm.take():
            assert realm.claim(message)
            realm.tick(0.01)
            assert realm.finish(message)
            served.append(message.task)
            continue
        dispatched = realm.dispatch()
        assert dispatched.next_in_s is not None
        realm.tick(0 if dispatched.released else dispatched.next_in_s)
    return served


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(TEN_A_SECOND, id="behind the window of a service"),
        pytest.param(
            {"services": {"api": {"windows": [{"limit": 100, "per": "10s"}], "burst_capacity": 5}}}, id="behind a bucket"
        ),
        pytest.param({"global": {"windows": [{"limit": 10, "per": "1s"}]}}, id="behind a limit of the whole realm"),
        pytest.param({"global": {"windows": [{"limit": 12, "per": "1s"}]}, **TEN_A_SECOND}, id="behind two limits"),
        pytest.param({"services": {"api": {"max_in_flight": 3}}}, id="behind a cap on work in flight"),
        pytest.param({}, id="behind a full broker queue"),
    ],
)
def test_ten_loops_of_which_one_sends_a_thousand_times_more_get_equal_shares(limits: dict[str, Any], redis_client: Redis) -> None:
    realm = Realm(redis_client, limits)
    realm.attend("worker", {"q": 5})
    realm.submit_many(realm.task(f"noisy {number}", lane("api", loop="noisy")) for number in range(20_000))
    for number in range(20):
        for loop in range(9):
            realm.submit(f"quiet{loop} {number}", lane("api", loop=f"quiet{loop}"))
    serve(realm, 10)  # what was released before there was anyone to be fair to
    served = Counter(name.split()[0] for name in serve(realm, 150))
    assert len(served) == 10
    assert jain(served.values()) >= 0.99, served


def test_loops_that_spend_tokens_get_equal_shares_of_the_tokens(redis_client: Redis) -> None:
    """Not of the requests: one asks for ten times as much at a time."""
    costs = {"small": 10, "large": 100, "middle": 50}
    realm = Realm(redis_client, {"services": {"api": {"token_limits": {"windows": [{"limit": 1_000, "per": "1s"}]}}}})
    for loop, cost in costs.items():
        for number in range(20_000 // cost):
            realm.submit(f"{loop} {number}", lane("api", loop=loop), tokens=cost)
    served: Counter[str] = Counter()
    for _, name in realm.work_until(realm.now_us + 30 * SECOND_US):
        loop = name.split()[0]
        served[loop] += costs[loop]
    assert served.total() >= 28_000
    assert jain(served.values()) >= 0.99, served


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(TEN_A_SECOND, id="behind the window of a service"),
        pytest.param({"services": {"api": {"token_limits": {"windows": [{"limit": 200, "per": "1s"}]}}}}, id="in tokens"),
        pytest.param({"global": {"windows": [{"limit": 10, "per": "1s"}]}, **TEN_A_SECOND}, id="behind two limits"),
        pytest.param({}, id="behind a full broker queue"),
    ],
)
def test_a_loop_gets_as_much_as_its_weight_says(limits: dict[str, Any], redis_client: Redis) -> None:
    weights = {"one": 1, "two": 2, "five": 5, "a": 1}
    loops = {loop: {"fair_weight": weight} for loop, weight in weights.items() if weight > 1}
    realm = Realm(redis_client, {**limits, "loops": loops} if limits else {"services": {"api": {}}, "loops": loops})
    realm.attend("worker", {"q": 5})
    realm.submit_many(
        realm.task(f"{loop} {number}", lane("api", loop=loop), tokens=20) for number in range(300) for loop in weights
    )
    serve(realm, 10)
    served = Counter(name.split()[0] for name in serve(realm, 180))
    assert jain(served[loop] / weight for loop, weight in weights.items()) >= 0.99, served


def test_a_weight_that_is_changed_holds_from_the_next_turn_on(redis_client: Redis) -> None:
    realm = Realm(redis_client, TEN_A_SECOND)
    realm.submit_many(realm.task(f"{loop} {number}", lane("api", loop=loop)) for number in range(400) for loop in "ab")
    realm.work_until(realm.now_us + 10 * SECOND_US)
    realm.publish({**TEN_A_SECOND, "loops": {"b": {"fair_weight": 4}}})
    served = Counter(name.split()[0] for _, name in realm.work_until(realm.now_us + 20 * SECOND_US))
    assert served["b"] == pytest.approx(4 * served["a"], rel=0.1), served


def test_a_costly_task_is_not_overtaken_for_ever_by_cheap_ones(redis_client: Redis) -> None:
    """Its turn comes when each of the others has spent as much, and then the limit is kept free for it."""
    realm = Realm(redis_client, {"services": {"api": {"token_limits": {"windows": [{"limit": 100, "per": "1s"}]}}}})
    for number in range(500):
        for loop in range(4):
            realm.submit(f"cheap{loop} {number}", lane("api", loop=f"cheap{loop}"), tokens=1)
    realm.submit("costly", lane("api", loop="costly"), tokens=100)
    started = {name: at_us for at_us, name in realm.work_until(realm.now_us + 20 * SECOND_US)}
    # Four loops spend 100 tokens each at 100 a second; one second more to be first, and one to have all.
    assert started["costly"] - EPOCH_US <= 6.2 * SECOND_US


def per(limit: int, seconds: int, **more: int) -> dict[str, Any]:
    return {"windows": [{"limit": limit, "per": f"{seconds}s"}], **more}


@pytest.mark.parametrize(
    ("limits", "served_alike"),
    [
        pytest.param({"global": per(7, 5), "services": {"api": per(1, 1)}}, "x1 x2", id="a service as tight as its realm"),
        pytest.param({"global": per(10, 10), "services": {"api": per(3, 10)}}, "x1 x2", id="a service tighter than its realm"),
        pytest.param(
            {"global": per(10, 10), "services": {"api": per(8, 10)}}, "x1 x2 g1 g2", id="a service wider than its share"
        ),
        pytest.param(
            {"services": {"api": {**per(6, 10), "endpoints": {"*": per(4, 10)}}}}, "c1 c2", id="an endpoint in its service"
        ),
        pytest.param(
            {"global": per(6, 10), "loops": {"*": per(2, 10)}}, "x1 x2 g1 g2", id="loops with limits of their own in a realm"
        ),
    ],
)
def test_lanes_of_one_limit_inside_another_get_equal_shares(
    limits: dict[str, Any], served_alike: str, redis_client: Redis
) -> None:
    realm = Realm(redis_client, limits)
    lanes = {
        "x1": lane("api", loop="x1"),
        "x2": lane("api", loop="x2"),
        "c1": lane("api", "chat", loop="c1"),
        "c2": lane("api", "chat", loop="c2"),
        "g1": lane("git", loop="g1"),
        "g2": lane("git", loop="g2"),
    }
    loops = dict.fromkeys((*served_alike.split(), "x1", "g1", "g2"))
    realm.submit_many(realm.task(f"{loop} {number}", lanes[loop]) for number in range(300) for loop in loops)
    realm.work()
    served = Counter(name.split()[0] for _, name in realm.work_until(realm.now_us + 200 * SECOND_US))
    assert jain(served[loop] for loop in served_alike.split()) >= 0.95, served


@pytest.mark.parametrize(
    "table",
    [per(1, 1), per(10, 10), {"requests_per_minute": 60, "burst_capacity": 1}, {"requests_per_minute": 60, "burst_capacity": 5}],
    ids=["a window of one", "a window of ten", "a bucket of one", "a bucket of five"],
)
def test_a_lane_that_needs_two_contended_limits_gets_a_share(table: dict[str, Any], redis_client: Redis) -> None:
    """Each limit lets it go in its turn, but it may run only when both do: others must not always come between."""
    realm = Realm(redis_client, {"services": {"api": table}, "loop_types": {"planner": table}})
    for number in range(200):
        for loop in range(2):
            realm.submit(f"service{loop} {number}", lane("api", loop=f"s{loop}"))
            realm.submit(f"type{loop} {number}", lane("git", loop_type="planner", loop=f"t{loop}"))
        realm.submit(f"both {number}", lane("api", loop_type="planner", loop="both"))
    served = Counter(name.split()[0] for _, name in realm.work_until(realm.now_us + 100 * SECOND_US))
    # A third of each limit would be its equal share.
    assert served["both"] >= 10, served


def test_lanes_that_need_two_limits_do_not_move_to_and_fro_between_them(redis_client: Redis) -> None:
    """Both limits are open, and lanes wait at either of them for the other: a dispatcher gets them all out."""

    def limits(capacity: int) -> dict[str, Any]:
        return {
            "services": {"api": {"windows": [{"limit": capacity, "per": "60s"}]}},
            "loop_types": {"planner": {"windows": [{"limit": capacity, "per": "60s"}]}},
        }

    realm = Realm(redis_client, limits(1))
    for number in range(4):
        realm.submit(f"type {number}", lane("git", loop_type="planner", loop=f"t{number}"))
    for number in range(3):
        realm.submit(f"both {number}", lane("api", loop_type="planner", loop=f"b{number}"))
    for number in range(4):
        realm.submit(f"service {number}", lane("api", loop=f"s{number}"))
    for number in range(3, 6):
        realm.submit(f"both {number}", lane("api", loop_type="planner", loop=f"b{number}"))
    realm.publish(limits(100))
    released, began_us = 0, realm.now_us
    for _ in range(10):
        dispatched = realm.dispatch()
        released += dispatched.released
        if released == 4 + 6 + 4 - 2:
            break
        assert dispatched.next_in_s is not None
        realm.tick(dispatched.next_in_s)
    assert released == 4 + 6 + 4 - 2
    assert realm.now_us - began_us < 10_000


# Priorities


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(TEN_A_SECOND, id="at a service"),
        pytest.param({"global": {"windows": [{"limit": 10, "per": "1s"}]}}, id="at the realm"),
        pytest.param({"services": {"api": {"max_in_flight": 3}}}, id="at a cap on work in flight"),
        pytest.param({}, id="at the broker's queue"),
    ],
)
@pytest.mark.parametrize("loops", [1, 100], ids=["in one lane", "in a hundred lanes"])
def test_critical_work_behind_ten_thousand_waiting_is_the_next_release(
    limits: dict[str, Any], loops: int, redis_client: Redis
) -> None:
    realm = Realm(redis_client, limits)
    realm.attend("worker", {"q": 5})
    realm.submit_many(realm.task(f"waiting {number}", lane("api", loop=f"l{number % loops}")) for number in range(10_000))
    serve(realm, 20)
    released_before = realm.released()
    realm.submit("critical", lane("api", loop="l0", priority=Priority.CRITICAL))
    served: list[str] = []
    while "critical" not in served:
        served += serve(realm, 1)
    assert [name for name in served if name not in released_before] == ["critical"]


@pytest.mark.parametrize("priority", range(1, 10))
def test_every_priority_goes_before_the_next_lower_one(priority: int, redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"windows": [{"limit": 1, "per": "1s"}]}}})
    realm.submit("first", lane("api"))
    realm.submit("lower", lane("api", priority=priority - 1))
    realm.submit("higher", lane("api", priority=priority))
    order = [name for _, name in realm.work_until(realm.now_us + 5 * SECOND_US)]
    assert order == ["first", "higher", "lower"]


# What waiting costs


def cost_of_a_token(client: Redis, realm: Realm, tokens: int = 20) -> float:
    """Commands for each release, while a dispatcher and a worker go on."""
    before, released, calls = commands(client), 0, 0
    while released < tokens:
        released += len(realm.work())
        dispatched = realm.dispatch()
        calls += 1
        assert dispatched.next_in_s is not None
        assert calls < 20 * tokens, f"{calls} calls for {released} releases"
        realm.tick(dispatched.next_in_s)
    return (commands(client) - before) / released


@pytest.mark.parametrize(
    ("limits", "others"),
    [
        pytest.param({"services": {"api": {"windows": [{"limit": 1, "per": "1s"}]}}}, 0, id="closed service"),
        pytest.param(
            {
                "global": {"windows": [{"limit": 1, "per": "700ms"}]},
                "services": {"api": {"windows": [{"limit": 1, "per": "1s"}]}},
            },
            100,
            id="closed service in a closed realm where others wait too",
        ),
        pytest.param(
            {
                "services": {
                    "api": {"windows": [{"limit": 1, "per": "1s"}]},
                    "git": {"windows": [{"limit": 1, "per": "700ms"}]},
                }
            },
            50,
            id="closed service beside another one",
        ),
    ],
)
def test_a_token_costs_the_same_whether_a_hundred_lanes_wait_or_many_more(
    limits: dict[str, Any], others: int, redis_client: Redis
) -> None:
    costs: list[float] = []
    for lanes in (100, 3_000):
        redis_client.flushdb()
        realm = Realm(redis_client, limits)
        submit_lanes(realm, others, service="git")
        submit_lanes(realm, lanes)
        # Each lane finds its place once: what came before its limit was closed waits at a wider one.
        cost_of_a_token(redis_client, realm)
        costs.append(cost_of_a_token(redis_client, realm))
    few, many = costs
    assert many <= 1.2 * few, costs


def test_ten_thousand_lanes_behind_a_closed_service_cost_a_dispatch_nothing(redis_client: Redis) -> None:
    costs: list[int] = []
    for lanes in (10, 10_000):
        redis_client.flushdb()
        realm = Realm(redis_client, {"services": {"api": {"requests_per_hour": 1}}})
        submit_lanes(realm, lanes)
        realm.dispatch()
        before = commands(redis_client)
        for _ in range(10):
            assert realm.dispatch().released == 0
        costs.append(commands(redis_client) - before)
    assert costs[0] == costs[1]


def test_a_submit_behind_a_closed_service_costs_the_same_however_many_wait(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_hour": 1}}})
    costs: list[int] = []
    for first in (0, 10, 5_000):
        submit_lanes(realm, 10, first=first)
        before = commands(redis_client)
        realm.submit(f"one more {first}", lane("api", loop=f"one more {first}"))
        costs.append(commands(redis_client) - before)
        submit_lanes(realm, 4_980 if first == 10 else 0, first=20)
    assert len(set(costs)) == 1, costs


def test_a_closed_service_never_delays_another_ones_work(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_hour": 1}, "git": {"requests_per_minute": 1_000}}})
    submit_lanes(realm, 3_000)
    for number in range(200):
        assert realm.submit(f"git {number}", lane("git", loop=f"g{number}")) is Submitted.RELEASED
        realm.work()


def test_a_delay_that_ends_is_released_past_a_closed_service(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_hour": 1}}})
    submit_lanes(realm, 1_000)
    realm.submit("later", lane("git"), due_in_s=5)
    realm.work()
    realm.tick(5)
    assert realm.dispatch().released == 1


def test_one_call_tries_no_more_than_its_budget_however_many_must_park(redis_client: Redis) -> None:
    """A thousand lanes become due at once behind a limit that admits one of them."""
    realm = Realm(redis_client, {"services": {"api": {"requests_per_hour": 1}}})
    for number in range(1_000):
        realm.submit(f"api{number}", lane("api", loop=f"api-{number}"), due_in_s=5)
    realm.tick(5)
    largest = 0
    for _ in range(100):
        before = commands(redis_client)
        dispatched = realm.dispatch(50)
        largest = max(largest, commands(redis_client) - before)
        if dispatched.next_in_s != 0:
            break
    assert largest <= 50 * 20
    assert len(realm.state().gates["service:api|requests"]) == 999


# A change of the limits


def test_a_limit_that_is_raised_governs_at_once_what_waits(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_minute": 1}}})
    submit_lanes(realm, 30)
    realm.publish({"services": {"api": {"requests_per_minute": 11}}})
    assert sum(realm.dispatch().released for _ in range(3)) == 10


def test_a_limit_that_is_lowered_governs_at_once_what_waits(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"windows": [{"limit": 20, "per": "1s"}]}}})
    submit_lanes(realm, 200)
    realm.work()
    realm.publish({"services": {"api": {"windows": [{"limit": 2, "per": "1s"}]}}})
    assert len(realm.work_until(realm.now_us + 10 * SECOND_US)) in (18, 20)


def test_a_change_of_the_limits_rings_the_bell(redis_client: Redis) -> None:
    """Dispatchers may be asleep until the old limit opens."""
    realm = Realm(redis_client, {"services": {"api": {"requests_per_minute": 1}}})
    submit_lanes(realm, 3)
    redis_client.delete(realm.keys("bell"))
    realm.dispatch()
    realm.publish({"services": {"api": {"requests_per_minute": 11}}})
    assert realm.state().bell


def test_work_behind_a_limit_that_was_taken_away_leaves_in_few_calls(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_minute": 1}}})
    realm.attend("worker", {"q": 10_000})
    submit_lanes(realm, 500)
    realm.publish({})
    calls = 0
    while realm.state().gates:
        realm.dispatch(50)
        calls += 1
        assert calls <= 100, f"{len(realm.state().lanes)} lanes still wait"


def test_weights_count(redis_client: Redis) -> None:
    """A task that costs three requests takes three, and its loop's next turn comes later."""
    realm = Realm(redis_client, {"services": {"api": {"windows": [{"limit": 12, "per": "1s"}]}}})
    lanes: dict[str, tuple[Lane, int]] = {"light": (lane("api", loop="light"), 1), "heavy": (lane("api", loop="heavy"), 3)}
    for number in range(300):
        for loop, (to, weight) in lanes.items():
            realm.submit(f"{loop} {number}", to, weight=weight)
    served: Counter[str] = Counter()
    for _, name in realm.work_until(realm.now_us + 20 * SECOND_US):
        loop = name.split()[0]
        served[loop] += lanes[loop][1]
    assert jain(served.values()) >= 0.99, served
