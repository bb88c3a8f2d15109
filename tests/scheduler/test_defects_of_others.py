"""Defects that were found in the code, or reported by the users, of other schedulers. Each test tells one, and fails for a
scheduler that has it. What limiters get wrong is in `tests/limits/test_defects_of_others.py`.

Where a defect is an example of a rule, other files have the rule: a crash between a token and a publish, or a restart, in
`tests/chaos`; a noisy tenant and work that is looked at again and again in `test_fairness.py`.
"""

from __future__ import annotations

from typing import Any

from redis import Redis

from turgor.limits import HierarchicalLimiter
from turgor.scheduler.scheduler import SECOND_US, Scheduler
from turgor.scheduler.waiting_task import Submitted

from .realm import EPOCH_US, Realm, lane

TEN_A_MINUTE: dict[str, Any] = {"services": {"api": {"requests_per_minute": 10}}}


def used(realm: Realm, scope: str = "service:api") -> list[int]:
    """What each limit of a scope has counted."""
    limiter = HierarchicalLimiter(realm.client, realm=realm.keys.realm)
    return [each.used for each in limiter.usage(scope, now_us=realm.now_us)]


def fill(realm: Realm, number: int = 10) -> None:
    """Use up the limit of the service."""
    for count in range(number):
        assert realm.submit(f"filler-{count}", lane("api")) is Submitted.RELEASED
        realm.work()


def test_the_loser_of_a_race_between_two_dispatchers_has_spent_nothing(redis_client: Redis) -> None:
    """A dispatcher that takes a token before it takes the task has taken it for nothing when another one was quicker."""
    realm = Realm(redis_client, TEN_A_MINUTE)
    for number in range(3):
        realm.submit(f"t{number}", lane("api"), due_in_s=1.0)
    realm.tick(1.0)

    others = [Scheduler(redis_client, realm.keys) for _ in range(4)]
    released = [each.dispatch(100, now_us=realm.now_us).released for each in others]

    assert (sum(released), used(realm)) == (3, [3])


def test_one_call_releases_as_much_as_its_limits_and_its_budget_allow(redis_client: Redis) -> None:
    """One task for each queue and poll of 0.1 s is ten a second, whatever the limit is."""
    realm = Realm(redis_client, {"services": {"api": {"requests_per_second": 500}}})
    realm.attend("worker", {"q": 1_000})
    for number in range(300):
        realm.submit(f"t{number}", lane("api"), due_in_s=1.0)
    realm.tick(1.0)

    # Of a hundred attempts each: three calls end the delays, three release.
    assert sum(realm.dispatch(100).released for _ in range(6)) == 300


def test_a_new_submit_does_not_overtake_what_waits(redis_client: Redis) -> None:
    """A submit that tries the bucket first takes the token that the oldest task has waited for."""
    realm = Realm(redis_client, TEN_A_MINUTE)
    fill(realm)
    assert realm.submit("old", lane("api")) is Submitted.WAITING
    realm.tick(61)

    realm.submit("new", lane("api"))
    realm.dispatch()

    assert realm.released() == ["old", "new"]


def test_a_dispatcher_that_starts_while_a_limit_is_closed_goes_on_when_it_opens(redis_client: Redis) -> None:
    """A restart while work was rate limited left the queue standing for ever (hatchet-dev/hatchet#4804)."""
    realm = Realm(redis_client, TEN_A_MINUTE)
    fill(realm)
    realm.submit("a", lane("api"))
    assert realm.dispatch().released == 0

    successor = Scheduler(redis_client, realm.keys)
    next_in_s = successor.dispatch(100, now_us=realm.now_us).next_in_s
    assert next_in_s is not None
    realm.tick(next_in_s)

    assert successor.dispatch(100, now_us=realm.now_us).released == 1


def test_a_task_that_has_waited_too_long_has_spent_nothing(redis_client: Redis) -> None:
    """Tokens were spent on tasks that had expired (temporalio/temporal#3145)."""
    realm = Realm(redis_client, TEN_A_MINUTE)
    fill(realm)
    realm.submit("late", lane("api"), max_wait_s=5.0)
    realm.tick(61)

    realm.dispatch()

    assert (realm.released(), used(realm)) == ([], [0])
    assert realm.state().expired == {"late"}


def test_an_attempt_that_was_refused_has_spent_nothing(redis_client: Redis) -> None:
    """Tokens were spent for each attempt to take a task, and not for each task."""
    tables = {"global": {"requests_per_minute": 100}, **TEN_A_MINUTE}
    realm = Realm(redis_client, tables)
    fill(realm)
    for number in range(30):
        realm.submit(f"t{number}", lane("api", loop=f"l{number}"))

    for _ in range(50):
        realm.dispatch()

    assert (used(realm, "global"), used(realm)) == ([10], [10])


def test_a_task_that_is_claimed_twice_or_handed_back_is_charged_once(redis_client: Redis) -> None:
    realm = Realm(redis_client, TEN_A_MINUTE)
    realm.submit("a", lane("api"))
    message = realm.take()
    assert message is not None
    assert [realm.claim(message), realm.claim(message, "another")] == [True, False]
    assert used(realm) == [1]

    realm.submit("b", lane("api"))
    message = realm.take()
    assert message is not None
    assert realm.put_back(message)
    realm.dispatch()

    assert used(realm) == [2]


def test_a_global_limit_does_not_halve_what_it_allows(redis_client: Redis) -> None:
    """With a limit for all, half of it was used (riverqueue/river#1145)."""
    tables: dict[str, Any] = {
        "global": {"requests_per_second": 20},
        "services": {name: {"requests_per_second": 15} for name in ("a", "b", "c")},
    }
    realm = Realm(redis_client, tables)
    realm.attend("worker", {"q": 1_000})
    for number in range(300):
        realm.submit(f"t{number}", lane("abc"[number % 3], loop=f"l{number % 7}"))

    started = realm.work_until(EPOCH_US + 10 * SECOND_US)

    # A period in which nothing is released yet leaves nine and a bit.
    assert len(started) >= 0.98 * 20 * 9


def test_agents_that_exhaust_one_key_pause_and_go_on(redis_client: Redis) -> None:
    """Parallel agents that shared a key were all killed when it was used up (laurigates/claude-plugins#1490)."""
    realm = Realm(redis_client, {"services": {"api": {"requests_per_second": 5}}})
    names = [f"agent-{agent}-{step}" for step in range(4) for agent in range(8)]
    for name in names:
        realm.submit(name, lane("api", loop=name.rpartition("-")[0]))

    started = realm.work_until(EPOCH_US + 8 * SECOND_US)

    assert sorted(name for _, name in started) == sorted(names)
    assert realm.state().expired == set()
