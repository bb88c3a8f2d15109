"""With ageing nobody waits for ever; what it costs; and what it leaves as it was."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from redis import Redis

from turgor.scheduler import Lane, Priority
from turgor.scheduler.scheduler import SECOND_US

from .realm import EPOCH_US, Realm, lane
from .test_fairness import commands, jain

TEN_A_SECOND: dict[str, Any] = {"windows": [{"limit": 10, "per": "1s"}]}
STEP_S = 2
PLACES = [
    pytest.param({"services": {"api": TEN_A_SECOND}}, 10, id="at a service"),
    pytest.param(
        {"global": {"windows": [{"limit": 12, "per": "1s"}]}, "services": {"api": TEN_A_SECOND}}, 10, id="in a realm as tight"
    ),
    pytest.param(
        {"global": {"windows": [{"limit": 8, "per": "1s"}]}, "services": {"api": TEN_A_SECOND}}, 8, id="in a tighter realm"
    ),
    pytest.param({"services": {"api": {"windows": [{"limit": 100, "per": "10s"}], "burst_capacity": 3}}}, 10, id="at a bucket"),
    pytest.param(
        {"services": {"api": TEN_A_SECOND}, "loop_types": {"planner": {"windows": [{"limit": 9, "per": "1s"}]}}},
        10,
        id="between two limits",
    ),
]


def ageing(limits: dict[str, Any], step: str = f"{STEP_S}s") -> dict[str, Any]:
    return {**limits, "global": {**limits.get("global", {}), "priority_ageing": step}}


def flood(realm: Realm, background: Lane, others: list[Lane], seconds: int, *, a_second: int = 20) -> float | None:
    """Twice as much NORMAL work as the limit takes comes all the time; seconds until the BACKGROUND task starts."""
    for number in range(2 * a_second):
        realm.submit(f"first {number}", others[number % len(others)])
    realm.submit("background", background)
    for tick in range(seconds * a_second):
        realm.submit(f"normal {tick}", others[tick % len(others)])
        for at_us, name in realm.work_until(realm.now_us + SECOND_US // a_second):
            if name == "background":
                return (at_us - EPOCH_US) / SECOND_US
    return None


@pytest.mark.parametrize(("limits", "rate"), PLACES)
def test_a_background_task_starts_behind_normal_ones_that_never_end(
    limits: dict[str, Any], rate: int, redis_client: Redis
) -> None:
    """Before it go the 40 NORMAL ones that were there, and what comes at 20 a second in the first five steps, which is as many
    levels. Nothing that comes later does.
    """
    realm = Realm(redis_client, ageing(limits))
    others = [lane("api", loop_type="planner", loop=f"l{number}") for number in range(5)]
    others += [lane("api", loop=f"m{number}") for number in range(5)]
    started_s = flood(realm, lane("api", loop_type="planner", loop="bg", priority=Priority.BACKGROUND), others, 60)
    assert started_s == pytest.approx((40 + 20 * 5 * STEP_S) / rate, rel=0.1)


def test_without_ageing_it_waits_for_as_long_as_they_come(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": TEN_A_SECOND}})
    assert flood(realm, lane("api", priority=Priority.BACKGROUND), [lane("api", loop="l")], 30) is None


def test_ageing_leaves_the_fair_turns_inside_a_priority_alone(redis_client: Redis) -> None:
    """Old work of a loop that floods is no reason to pass the new work of another loop of the same priority."""
    realm = Realm(redis_client, ageing({"services": {"api": TEN_A_SECOND}}))
    realm.submit_many(realm.task(f"noisy {number}", lane("api", loop="noisy")) for number in range(5_000))
    realm.work_until(realm.now_us + 60 * SECOND_US)
    realm.submit_many(
        realm.task(f"quiet{loop} {number}", lane("api", loop=f"quiet{loop}")) for number in range(50) for loop in range(4)
    )
    served = Counter(name.split()[0] for _, name in realm.work_until(realm.now_us + 20 * SECOND_US))
    assert jain(served.values()) >= 0.99, served
    assert len(served) == 5


def test_critical_work_is_next_unless_the_others_have_waited_for_nine_levels(redis_client: Redis) -> None:
    realm = Realm(redis_client, ageing({"services": {"api": TEN_A_SECOND}}, "5m"))
    realm.submit_many(
        realm.task(f"waiting {number}", lane("api", loop=f"l{number % 100}", priority=0)) for number in range(10_000)
    )
    realm.work_until(realm.now_us + 20 * SECOND_US)
    realm.submit("critical", lane("api", priority=Priority.CRITICAL))
    assert next(name for _, name in realm.work_until(realm.now_us + 2 * SECOND_US)) == "critical"


def test_ageing_costs_a_token_the_same_however_many_lanes_wait_and_for_however_long(redis_client: Redis) -> None:
    costs: list[float] = []
    for lanes, waited_s in ((100, 0), (100, 3_600), (2_000, 3_600)):
        redis_client.flushdb()
        realm = Realm(redis_client, ageing({"services": {"api": {"windows": [{"limit": 1, "per": "1s"}]}}}))
        realm.submit_many(
            realm.task(f"{number}", lane("api", loop=f"l{number}", priority=number % 10)) for number in range(lanes)
        )
        realm.work_until(realm.now_us + 5 * SECOND_US)
        realm.now_us += waited_s * SECOND_US
        before = commands(redis_client)
        released = len(realm.work_until(realm.now_us + 20 * SECOND_US))
        costs.append((commands(redis_client) - before) / released)
    assert max(costs) <= 1.2 * min(costs), costs
