"""What would take long in one call is done in slices, and comes to the same in the end."""

from __future__ import annotations

import pytest
from redis import Redis

from .realm import Realm, lane

LOOPS = 1_000


def dispatch_until_it_sleeps(realm: Realm, most_calls: int) -> int:
    """Returns the most releases in one call."""
    most = 0
    for _ in range(most_calls):
        dispatched = realm.dispatch(50)
        most = max(most, dispatched.released)
        if dispatched.next_in_s != 0:
            return most
    raise AssertionError(f"{most_calls} calls, and there is more to do")


def loops(per_day: int) -> dict[str, object]:
    return {"loops": {"*": {"requests_per_day": per_day}}}


def test_a_change_of_the_limits_comes_to_a_thousand_gates_in_slices_and_misses_none(redis_client: Redis) -> None:
    realm = Realm(redis_client, loops(1))
    realm.attend("worker", {"q": 10 * LOOPS})
    for turn in ("first", "second", "third"):
        realm.submit_many(realm.task(f"{turn} {number}", lane(loop=f"l{number}")) for number in range(LOOPS))
    assert len(realm.state().gates) == LOOPS
    realm.publish(loops(2))
    assert realm.dispatch(50).next_in_s == 0
    assert any(wake_us for wake_us in realm.state().wakes.values()), "all gates were set due in one call"
    most = dispatch_until_it_sleeps(realm, 200)
    assert most <= 50
    assert {name for name in realm.released() if name.startswith("second")} == {f"second {n}" for n in range(LOOPS)}
    assert not any(name.startswith("third") for name in realm.released())


def test_a_second_change_on_the_way_comes_to_every_gate_too(redis_client: Redis) -> None:
    realm = Realm(redis_client, loops(1))
    realm.attend("worker", {"q": 10 * LOOPS})
    for turn in range(4):
        realm.submit_many(realm.task(f"{turn} {number}", lane(loop=f"l{number}")) for number in range(LOOPS))
    realm.publish(loops(2))
    for _ in range(5):
        realm.dispatch(50)
    realm.publish(loops(3))
    dispatch_until_it_sleeps(realm, 400)
    assert len(realm.released()) == 3 * LOOPS
    assert "sweep" not in realm.state().keys


@pytest.mark.parametrize("gone", [3, 1_500, 2_990], ids=["near its head", "in the middle", "near its end"])
def test_a_task_that_has_waited_too_long_leaves_a_long_lane_and_nobody_else_does(gone: int, redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_day": 1}}})
    realm.submit("first", lane("api"))
    waiting = [f"w{number}" for number in range(3_000)]
    realm.submit_many(
        realm.task(name, lane("api"), max_wait_s=1 if number == gone else None) for number, name in enumerate(waiting)
    )
    realm.tick(1)
    realm.dispatch()
    state = realm.state()
    assert state.expired == {f"w{gone}"}
    assert next(iter(state.lanes.values())) == waiting[:gone] + waiting[gone + 1 :]


def test_a_search_through_a_long_lane_counts_as_many_attempts(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_day": 1}}})
    realm.submit("first", lane("api"))
    realm.submit_many(
        realm.task(f"w{number}", lane("api"), max_wait_s=1 if 9_000 <= number < 9_100 else None) for number in range(18_000)
    )
    realm.tick(1)
    realm.dispatch(50)
    assert len(realm.state().expired) == 3
    for _ in range(40):
        realm.dispatch(50)
    assert len(realm.state().expired) == 100


def test_the_clock_ends_a_call_that_takes_too_long_however_many_attempts_it_has_left(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"max_in_flight": 10 * LOOPS}}})
    realm.attend("worker", {"q": 10 * LOOPS})
    realm.submit_many(realm.task(f"w{number}", lane("api", loop=f"l{number}"), due_in_s=1) for number in range(LOOPS))
    realm.tick(1)
    of_the_clock = realm.scheduler.dispatch(2 * LOOPS)
    assert of_the_clock.promoted < LOOPS
    assert of_the_clock.next_in_s == 0
    assert realm.dispatch(2 * LOOPS).promoted == LOOPS - of_the_clock.promoted, "a call that is told the time has no other bound"
