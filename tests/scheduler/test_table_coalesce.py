"""What becomes of a submit whose key waits already, case by case."""

from __future__ import annotations

from typing import Any

from redis import Redis

from turgor.scheduler.errors import QueueFull
from turgor.scheduler.scheduler import Cancelled
from turgor.scheduler.waiting_task import CoalescedInto, Submitted

from .realm import Realm
from .table import (
    LANES,
    ONE_A_MINUTE,
    Case,
    Step,
    cancel,
    claim,
    dispatch,
    finish,
    put_back,
    submit,
    submit_all,
    table,
    tick,
)

RELEASED, WAITING, DELAYED, KNOWN = Submitted.RELEASED, Submitted.WAITING, Submitted.DELAYED, Submitted.KNOWN


def coalesced(into: str) -> CoalescedInto:
    return CoalescedInto(into)


@table(
    Case(
        "a submit whose key waits is coalesced into what waits, and stores nothing",
        submit("z", key="=k"),
        coalesced("b"),
        ONE_A_MINUTE,
        [submit("a"), submit("b", key="=k")],
        {"lanes": {"api": "b"}, "messages": ["a", "b"], "keyed": ["=k b"]},
    ),
    Case(
        "the priority makes no difference",
        submit("z", "api high", key="=k"),
        coalesced("b"),
        ONE_A_MINUTE,
        [submit("a"), submit("b", key="=k")],
    ),
    Case(
        "another key waits by itself",
        submit("z", key="=other"),
        WAITING,
        ONE_A_MINUTE,
        [submit("a"), submit("b", key="=k")],
        {"lanes": {"api": "b z"}, "keyed": ["=k b", "=other z"]},
    ),
    Case(
        "a key that begins like another is another one",
        submit("z", key="=k"),
        WAITING,
        ONE_A_MINUTE,
        [submit("a"), submit("b", key="=kk")],
    ),
    Case(
        "a released task is past: the next one waits for itself",
        submit("z", key="=k"),
        WAITING,
        ONE_A_MINUTE,
        [submit("a", key="=k")],
        {"keyed": ["=k z"]},
    ),
    Case(
        "a submit that repeats the waiting one is known",
        lambda realm: realm.submit("b", LANES["api"], key="=k"),
        KNOWN,
        ONE_A_MINUTE,
        [submit("a"), submit("b", key="=k")],
    ),
    Case(
        "a delayed task stands for what is due no earlier",
        submit("z", key="=k", due_in_s=60),
        coalesced("b"),
        ONE_A_MINUTE,
        [submit("b", key="=k", due_in_s=30)],
    ),
    Case(
        "to the microsecond",
        submit("z", key="=k", due_in_s=30),
        coalesced("b"),
        ONE_A_MINUTE,
        [submit("b", key="=k", due_in_s=30)],
    ),
    Case(
        "a task that is due later does not stand for one that is due now",
        submit("z", key="=k"),
        WAITING,
        ONE_A_MINUTE,
        [submit("a"), submit("b", key="=k", due_in_s=30)],
        {"delayed": ["b"], "lanes": {"api": "z"}, "keyed": ["=k z", "=k b"]},
    ),
    Case(
        "of several the one that is due first stands for the next",
        submit("z", key="=k", due_in_s=60),
        coalesced("c"),
        ONE_A_MINUTE,
        [submit("a"), submit("b", key="=k", due_in_s=30), submit("c", key="=k")],
    ),
    Case(
        "a promoted task stands for others",
        submit("z", key="=k"),
        coalesced("b"),
        ONE_A_MINUTE,
        [submit("a"), submit("b", key="=k", due_in_s=30), tick(30), dispatch()],
    ),
    Case(
        "what goes on with accepted work is not coalesced, and stands for nobody",
        submit("z", key="=k", continues=True),
        WAITING,
        ONE_A_MINUTE,
        [submit("a"), submit("b", key="=k")],
        {"keyed": ["=k b"], "lanes": {"api": "b z"}},
    ),
    Case(
        "a task that was released and comes back stands for nobody, and takes nobody's key along",
        dispatch(),
        None,
        ONE_A_MINUTE,
        [submit("a", key="=k"), claim("a"), submit("b", key="=k"), put_back("a"), tick(61.5)],
        {"lanes": {"api": "b"}, "keyed": ["=k b"]},
    ),
    Case(
        "no cap is needed, and one that is full changes nothing",
        submit("z", key="=k"),
        coalesced("b"),
        {"services": {"api": {"requests_per_minute": 1, "backlog": {"limit": 1}}}},
        [submit("a"), submit("b", key="=k")],
    ),
)
def test_an_own_key(case: Case, redis_client: Redis) -> None:
    _run(case, redis_client)


NOBODY: dict[str, Any] = {"keyed": []}
SHED: dict[str, Any] = {"services": {"api": {"requests_per_minute": 1, "backlog": {"limit": 1, "overflow": "shed"}}}}


def revoke(name: str) -> Step:
    return lambda realm: realm.scheduler.withdraw(name, LANES["api"], revoked=True, now_us=realm.now_us)


def discard_lane(realm: Realm) -> int:
    return realm.scheduler.discard_lane(LANES["api"], 10, now_us=realm.now_us)


def discard_delayed(realm: Realm) -> int:
    return realm.scheduler.discard_delayed([each.encode() for each in realm.state().keys["delayed"]], now_us=realm.now_us)


@table(
    Case(
        "a release",
        dispatch(),
        None,
        ONE_A_MINUTE,
        [submit("a"), claim("a"), finish("a"), submit("b", key="=k"), tick(61.5)],
        NOBODY,
    ),
    Case("a cancel", cancel("b"), Cancelled.CANCELLED, ONE_A_MINUTE, [submit("a"), submit("b", key="=k")], NOBODY),
    Case("a revoke", revoke("b"), Cancelled.CANCELLED, ONE_A_MINUTE, [submit("a"), submit("b", key="=k")], NOBODY),
    Case(
        "the end of its time", dispatch(), None, ONE_A_MINUTE, [submit("a"), submit("b", key="=k", max_wait_s=1), tick(1)], NOBODY
    ),
    Case("what is dropped for others", submit("z"), WAITING, SHED, [submit("a"), submit("b", key="=k")], NOBODY),
    Case("a purge", discard_lane, 2, ONE_A_MINUTE, [submit("a"), submit("b", key="=k"), submit("c", key="=l")], NOBODY),
    Case("a purge of what is delayed", discard_delayed, 1, ONE_A_MINUTE, [submit("b", key="=k", due_in_s=9)], NOBODY),
    Case(
        "a deadline that is over at once",
        submit("b", key="=k", deadline_in_s=-1),
        Submitted.EXPIRED,
        ONE_A_MINUTE,
        [submit("a")],
        NOBODY,
    ),
)
def test_what_ends_the_wait_ends_the_key(case: Case, redis_client: Redis) -> None:
    _run(case, redis_client)


def coalescing(**backlog: Any) -> dict[str, Any]:
    return {"services": {"api": {"requests_per_minute": 1, "backlog": {"limit": 2, "overflow": "coalesce", **backlog}}}}


def refused(name: str, to: str = "api", **options: Any) -> Step:
    """Where there is no room, if the submit is refused."""

    def call(realm: Realm) -> object:
        try:
            return realm.submit(name, LANES[to], **options)
        except QueueFull as full:
            return full.scope

    return call


@table(
    Case(
        "where there is room, each waits by itself",
        submit("c", key="~k"),
        WAITING,
        coalescing(),
        [submit("a"), submit("b", key="~k")],
        {"lanes": {"api": "b c"}, "keyed": ["~k b", "~k c"]},
    ),
    Case(
        "where there is none, a submit whose key waits is coalesced",
        submit("z", key="~k"),
        coalesced("b"),
        coalescing(),
        [submit("a"), submit("b", key="~k"), submit("c")],
        {"lanes": {"api": "b c"}},
    ),
    Case(
        "and one whose key does not wait is refused",
        refused("z", key="~other"),
        "service:api",
        coalescing(),
        [submit("a"), submit("b", key="~k"), submit("c")],
    ),
    Case("so is one without a key", refused("z"), "service:api", coalescing(), [submit_all("a", "b", "c")]),
    Case(
        "as long as one of them waits",
        submit("z", key="~k"),
        coalesced("b"),
        coalescing(),
        [submit("a"), submit("b", key="~k"), submit("c", key="~k"), cancel("c"), submit("d")],
    ),
    Case(
        "a scope that rejects does not coalesce",
        refused("z", key="~k"),
        "service:api",
        coalescing(overflow="reject"),
        [submit("a"), submit("b", key="~k"), submit("c")],
    ),
    Case(
        "the narrowest full scope decides",
        submit("z", key="~k"),
        coalesced("b"),
        {"global": {"backlog": {"limit": 1}}, **coalescing(limit=1)},
        [submit("a"), submit("b", key="~k")],
    ),
)
def test_no_room(case: Case, redis_client: Redis) -> None:
    _run(case, redis_client)


def _run(case: Case, client: Redis) -> None:
    if case.reply is None:
        call = case.call

        def unheard(realm: Realm) -> None:
            call(realm)

        case.call = unheard
    case.run(client)
