"""Work of a service whose breaker opens: it waits in its lanes, probes find out, and the limits come back in a ramp."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from redis import Redis

from limit_calls import keys_of
from turgor.limits import Circuit, HierarchicalLimiter, ServiceHealth
from turgor.limits.limit import SECOND_US
from turgor.limits.outcome import Outcome
from turgor.limits.transition import transitions
from turgor.scheduler.explanation import TaskState

from .realm import EPOCH_US, Message, Realm, lane

BREAKER: dict[str, Any] = {"minimum_calls": 4, "window": "10s", "cool_down": "8s", "probes": 2, "ramp": "10s"}
LIMITS: dict[str, Any] = {"services": {"api": {"requests_per_second": 100, "breaker": BREAKER}}}
ONLY_A_BREAKER: dict[str, Any] = {"services": {"api": {"breaker": BREAKER}}}
ADAPTIVE: dict[str, Any] = {"decrease": 0.5, "floor": 0.1, "recovery": "10s", "reaction": "1s"}


def submit(realm: Realm, *names: str) -> None:
    for name in names:
        realm.submit(name, lane("api"))


def numbered(kind: str, count: int) -> list[str]:
    return [f"{kind}{number}" for number in range(count)]


def health(realm: Realm) -> ServiceHealth:
    return HierarchicalLimiter(realm.client, realm=realm.keys.realm).health("api", now_us=realm.now_us)


def run(realm: Realm, outcome: Outcome | None = None) -> list[str]:
    realm.dispatch()
    return realm.work(outcome=outcome)


def trip(realm: Realm) -> None:
    """Four of four calls fail."""
    submit(realm, *numbered("failing", 4))
    assert len(realm.work(outcome=Outcome.FAILED)) == 4
    assert health(realm).circuit is Circuit.OPEN


@pytest.fixture(params=[LIMITS, ONLY_A_BREAKER], ids=["with limits", "without"])
def tripped(request: pytest.FixtureRequest, redis_client: Redis) -> Realm:
    realm = Realm(redis_client, request.param)
    trip(realm)
    return realm


def test_an_open_breaker_holds_work_in_its_lane_and_burns_nothing(tripped: Realm) -> None:
    submit(tripped, *numbered("t", 50))

    for _ in range(7):
        tripped.tick(1)
        assert run(tripped) == []

    state = tripped.state()
    assert sum(map(len, state.lanes.values())) == 50
    assert (state.leases, state.redelivered, state.expired) == ({}, {}, set())
    found = tripped.scheduler.explain("t3", lane("api"), now_us=tripped.now_us)
    assert (found.state, found.ahead, found.held_by, found.opens_in_s) == (TaskState.WAITING, 3, "service:api breaker", 1.0)
    assert str(health(tripped)) == "service:api: breaker open, since 2023-11-14 22:13:20 UTC, probes in 1.0 s"


def test_the_dispatcher_sleeps_until_the_cool_down_is_over(tripped: Realm) -> None:
    submit(tripped, *numbered("t", 50))

    assert tripped.dispatch().next_in_s == 8.0


def test_half_open_releases_as_many_probes_as_configured(tripped: Realm) -> None:
    submit(tripped, *numbered("t", 50))
    tripped.tick(8)

    for _ in range(3):
        tripped.dispatch()

    assert tripped.released() == ["t0", "t1"]
    assert health(tripped).circuit is Circuit.HALF_OPEN
    assert tripped.scheduler.explain("t2", lane("api"), now_us=tripped.now_us).held_by == "service:api breaker"


def test_a_probe_that_fails_opens_again_for_twice_as_long(tripped: Realm) -> None:
    submit(tripped, *numbered("t", 50))
    tripped.tick(8)
    tripped.dispatch()
    probe = tripped.take()
    assert probe
    tripped.claim(probe)

    tripped.finish(probe, Outcome.FAILED)

    assert health(tripped).opens_in_s == 16.0
    late = tripped.take()
    assert late
    tripped.claim(late)
    tripped.finish(late, Outcome.OK)
    assert health(tripped).circuit is Circuit.OPEN, "a probe of an earlier round says nothing any more"


@pytest.mark.parametrize("outcome", [Outcome.OPEN, Outcome.THROTTLED])
def test_a_probe_that_says_nothing_gives_its_place_to_the_next(tripped: Realm, outcome: Outcome) -> None:
    submit(tripped, *numbered("t", 50))
    tripped.tick(8)
    tripped.dispatch()

    assert tripped.work(outcome=outcome) == numbered("t", 50), "each lets the next one go"
    assert health(tripped).circuit is Circuit.HALF_OPEN


def test_a_probe_that_was_lost_before_its_start_gives_its_place_to_another(tripped: Realm) -> None:
    submit(tripped, "t0", "t1", "t2")
    tripped.tick(8)
    tripped.dispatch()
    tripped.client.delete("q")

    tripped.tick(5)
    tripped.dispatch()

    assert sorted(tripped.released()) == ["t0", "t1"]
    assert tripped.state().redelivered == {"t0": 1, "t1": 1}


def test_probes_that_succeed_close_and_what_waits_goes_on(tripped: Realm) -> None:
    submit(tripped, *numbered("t", 5))
    tripped.tick(8)
    tripped.dispatch()

    done = tripped.work(outcome=Outcome.OK)
    tripped.tick(1)
    done += run(tripped, Outcome.OK)

    assert done == numbered("t", 5)
    assert health(tripped).circuit is Circuit.CLOSED
    states = [(each.before, each.after) for each in transitions(tripped.client, tripped.keys)]
    assert states == [(Circuit.HALF_OPEN, Circuit.CLOSED), (Circuit.OPEN, Circuit.HALF_OPEN), (Circuit.CLOSED, Circuit.OPEN)]
    assert [each.at.timestamp() - EPOCH_US / SECOND_US for each in transitions(tripped.client, tripped.keys)] == [8, 8, 0]


def starts_by_second(log: Sequence[tuple[int, str]], since_us: int) -> list[int]:
    found = Counter((at_us - since_us) // SECOND_US for at_us, _ in log)
    return [found[second] for second in range(max(found) + 1)]


def test_closing_ramps_up(redis_client: Redis) -> None:
    """A hundred a second: at first a tenth, and after ten seconds all of it."""
    realm = Realm(redis_client, LIMITS)
    trip(realm)
    submit(realm, *numbered("t", 1_300))
    realm.tick(8)
    closed_us = realm.now_us

    log = realm.work_until(closed_us + 14 * SECOND_US, outcome=Outcome.OK)

    counts = starts_by_second(log, closed_us)
    assert all(abs(count - (14.5 + 9 * second)) <= 6 for second, count in enumerate(counts[:10])), counts
    assert sum(counts[10:14]) >= 0.97 * 400, counts
    assert max(counts) <= 100


def test_the_dispatcher_wakes_for_the_ramp_though_its_window_stays_full(redis_client: Redis) -> None:
    """Sixty a minute, of which nothing leaves the window for a minute: all of it is admitted within the ramp."""
    realm = Realm(redis_client, {"services": {"api": {"requests_per_minute": 60, "breaker": BREAKER}}})
    trip(realm)
    submit(realm, *numbered("t", 100))
    realm.tick(8)
    realm.dispatch()
    while message := realm.take():
        realm.claim(message)
        realm.finish(message, Outcome.OK)
    assert health(realm).circuit is Circuit.CLOSED

    log = realm.work_until(realm.now_us + 11 * SECOND_US, outcome=Outcome.OK)

    starts = starts_by_second(log, EPOCH_US + 8 * SECOND_US)
    assert sum(starts) >= 50, starts
    assert max(starts) <= 8, starts


def test_a_worker_that_is_lost_counts_as_a_failure(redis_client: Redis) -> None:
    realm = Realm(redis_client, LIMITS)
    submit(realm, *numbered("t", 4))
    while message := realm.take():
        realm.claim(message)

    realm.tick(10)
    realm.dispatch()

    assert health(realm).circuit is Circuit.OPEN
    assert realm.released() == [], "what came back is held with the rest"
    assert len(realm.state().redelivered) == 4


def test_a_task_that_is_throttled_is_no_failure_and_cuts_the_share_once(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_second": 100, "breaker": BREAKER, "adaptive": ADAPTIVE}}})
    submit(realm, *numbered("t", 8))
    realm.tick(0.1)
    while message := realm.take():
        realm.claim(message)
        realm.throttle(message, 1.0)

    assert health(realm) == ServiceHealth("api", Circuit.CLOSED, factor=0.5, share=0.5)
    assert realm.regulator.state("service:api", now_us=realm.now_us).closed_for_s == 1.0


def test_an_adaptive_share_scales_what_is_released_and_recovers_by_success(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_second": 100, "adaptive": ADAPTIVE}}})
    submit(realm, "first")
    realm.tick(0.1)
    realm.work(outcome=Outcome.FAILED)
    submit(realm, *numbered("t", 1_000))
    began_us = realm.now_us

    counts = starts_by_second(realm.work_until(began_us + 8 * SECOND_US, outcome=Outcome.OK), began_us)

    assert 45 <= counts[0] <= 60, counts
    assert counts[1] > counts[0], counts
    assert all(95 <= count <= 100 for count in counts[6:8]), counts
    assert max(counts) <= 100
    assert health(realm).factor == 1.0


def test_a_task_that_costs_more_than_the_share_waits_and_is_charged_in_full(redis_client: Redis) -> None:
    """Charged with the share only, it would leave room that the service does not have when the share grows back."""
    tokens = {"token_limits": {"per_second": 100}, "adaptive": {**ADAPTIVE, "floor": 0.1, "decrease": 0.1}}
    realm = Realm(redis_client, {"services": {"api": tokens}})
    realm.submit("first", lane("api"))
    realm.tick(0.1)
    realm.work(outcome=Outcome.FAILED)
    assert health(realm).factor == 0.1

    realm.submit("big", lane("api"), tokens=80)
    assert run(realm) == ["big"], "an empty window admits it"
    used = HierarchicalLimiter(realm.client, realm=realm.keys.realm).usage("service:api", now_us=realm.now_us)

    assert [each.remaining for each in used] == [0]
    realm.client.delete(realm.keys("regulator:service:api"))
    whole = HierarchicalLimiter(realm.client, realm=realm.keys.realm).usage("service:api", now_us=realm.now_us)
    assert [each.remaining for each in whole] == [20]
    realm.tick(1.1)
    whole = HierarchicalLimiter(realm.client, realm=realm.keys.realm).usage("service:api", now_us=realm.now_us)
    assert [each.remaining for each in whole] == [100], "nothing stays held"


def test_a_breaker_that_is_switched_off_lets_go(tripped: Realm) -> None:
    submit(tripped, *numbered("t", 5))
    assert run(tripped) == []

    tripped.publish({"services": {"api": {}}})
    done = run(tripped)
    for _ in range(5):
        tripped.tick(1)
        done += run(tripped)

    assert sorted(done) == numbered("t", 5)


def test_a_service_with_neither_stores_nothing(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_second": 100}}})
    submit(realm, *numbered("t", 8))
    realm.work(outcome=Outcome.FAILED)

    assert not [key for key in keys_of(realm.client) if "calls:" in key or "regulator" in key or "probes" in key]


def test_one_breaker_is_shared_by_tasks_and_limiters(redis_client: Redis) -> None:
    realm = Realm(redis_client, LIMITS)
    limiter = HierarchicalLimiter(realm.client, realm=realm.keys.realm)
    for _ in range(4):
        limiter.acquire(service="api", now_us=realm.now_us).failed(now_us=realm.now_us)
    submit(realm, "t")

    assert run(realm) == []
    assert realm.scheduler.explain("t", lane("api"), now_us=realm.now_us).held_by == "service:api breaker"

    realm.tick(8)
    probes = [limiter.acquire(service="api", now_us=realm.now_us) for _ in range(2)]
    assert run(realm) == []
    for probe in probes:
        probe.ok(now_us=realm.now_us)
    assert run(realm, Outcome.OK) == ["t"], "the last probe woke who waited"


def test_a_late_message_of_a_probe_changes_nothing(tripped: Realm) -> None:
    assert not tripped.finish(Message("nobody", "9"), Outcome.FAILED)
    assert health(tripped).opens_in_s == 8.0
