"""The first attempts of a service's tasks are what its retry budget is measured by; they are counted as they end."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from redis import Redis

from limit_calls import keys_of
from turgor.limits import LimitsConfig
from turgor.limits.limit import SECOND_US
from turgor.limits.outcome import Outcome
from turgor.limits.retry_ledger import RetryLedger, RetryUse
from turgor.limits.service_health import HEALTH, health_in

from .realm import Realm, lane

BUDGET: dict[str, Any] = {"ratio": 0.5, "window": "10s", "minimum": 2}
LIMITS: dict[str, Any] = {"services": {"api": {"retry_budget": BUDGET}, "git": {}}}


@pytest.fixture
def realm(redis_client: Redis) -> Realm:
    return Realm(redis_client, LIMITS)


def use(realm: Realm) -> RetryUse:
    table = LimitsConfig.load(LIMITS).services["api"]
    found = health_in(HEALTH(realm.client, realm.keys.prefix, realm.now_us, "api"), "api", table).retry_use
    assert found is not None
    return found


def run(realm: Realm, *names: str, outcome: Outcome = Outcome.OK, service: str = "api") -> None:
    for name in names:
        realm.submit(name, lane(service))
    realm.dispatch()
    assert realm.work(outcome=outcome) == list(names)


@pytest.mark.parametrize(
    ("names", "counted"),
    [
        (["a"], 1),
        (["a", "b", "c"], 3),
        (["a~1.0", "a~12.0", "a~3.2"], 0),
        (["a~0.1", "a~0.12"], 2),
        (["planner~7", "x~10"], 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_first_attempt_counts_however_it_ends_and_a_retry_does_not(
    realm: Realm, names: list[str], counted: int, outcome: Outcome
) -> None:
    run(realm, *names, outcome=outcome)
    assert use(realm).first_attempts == counted


def test_what_goes_back_counts_once_when_it_ends(realm: Realm) -> None:
    realm.submit("a", lane("api"))
    for go_back in (lambda message: realm.throttle(message, 1), realm.put_back):
        message = realm.take()
        assert message is not None
        realm.claim(message)
        go_back(message)
        assert use(realm).first_attempts == 0
        realm.tick(2)
        realm.dispatch()
    assert realm.work(outcome=Outcome.OK) == ["a"]
    assert use(realm).first_attempts == 1


def test_a_task_that_never_started_counts_nothing(realm: Realm) -> None:
    realm.submit("revoked", lane("api"))
    message = realm.take()
    assert message is not None
    assert realm.finish(message, Outcome.OPEN)
    assert use(realm).first_attempts == 0


def test_each_service_has_its_own_budget_and_none_if_it_asks_for_none(realm: Realm) -> None:
    run(realm, "g1", "g2", service="git")
    assert use(realm).first_attempts == 0
    assert keys_of(realm.client, "*retries:*") == []


def test_retries_are_granted_as_first_attempts_end_and_the_window_moves(realm: Realm) -> None:
    ledger = RetryLedger(realm.client, realm.keys)

    def spend() -> bool:
        return ledger.spend("api", now_us=realm.now_us).granted

    assert [spend(), spend(), spend()] == [True, True, False]
    run(realm, *(f"t{number}" for number in range(6)), outcome=Outcome.FAILED)
    assert [spend(), spend()] == [True, False]
    assert use(realm) == RetryUse(6, 3, 3, 10 * SECOND_US)
    realm.tick(10)
    assert use(realm) == RetryUse(0, 0, 2, 10 * SECOND_US)
    assert spend()


def test_a_changed_budget_governs_at_once_and_keeps_what_was_counted(realm: Realm) -> None:
    run(realm, *(f"t{number}" for number in range(20)))
    ledger = RetryLedger(realm.client, realm.keys)
    assert ledger.spend("api", now_us=realm.now_us).allowed == 10
    realm.publish({"services": {"api": {"retry_budget": {**BUDGET, "ratio": 0.05}}}})
    assert [ledger.spend("api", now_us=realm.now_us).granted for _ in range(2)] == [True, False]


def test_workers_that_ask_together_are_granted_no_more_than_there_is(realm: Realm) -> None:
    run(realm, *(f"t{number}" for number in range(40)))
    granted = list[bool]()
    start = threading.Barrier(8)

    def ask() -> None:
        ledger = RetryLedger(realm.client, realm.keys)
        start.wait()
        granted.extend(ledger.spend("api", now_us=realm.now_us).granted for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 20
    assert use(realm).retries == 20
