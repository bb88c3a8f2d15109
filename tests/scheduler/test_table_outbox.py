"""What the scripts do where the broker is elsewhere, case by case: releases are taken, published and confirmed."""

from __future__ import annotations

from redis import Redis

from turgor.scheduler.scheduler import Cancelled, Dispatched
from turgor.scheduler.waiting_task import Submitted

from .realm import Realm
from .table import (
    LANES,
    ONE_A_MINUTE,
    ONE_AT_A_TIME,
    SLOTS,
    WINDOW,
    Case,
    Step,
    attend,
    claim,
    confirm,
    dispatch,
    explain,
    finish,
    put_back,
    renew,
    seen_empty,
    submit,
    submit_all,
    table,
    take_releases,
    tick,
)


def withdraw(name: str) -> Step:
    return lambda realm: realm.scheduler.withdraw(name, LANES["elsewhere"], now_us=realm.now_us)


def give_back(realm: Realm) -> None:
    """A publisher that cannot publish."""
    realm.outbox.give_back(realm.take_releases().releases)


def postpone(realm: Realm) -> None:
    """The broker refuses what a publisher has taken."""
    realm.outbox.give_back(realm.take_releases().releases, not_before_us=realm.now_us + 30_000_000)


submitted = submit("a", "elsewhere")
published = [submitted, take_releases(), confirm("a")]


@table(
    Case(
        "a submit that nothing holds writes the release into the outbox, and rings",
        submit("a", "elsewhere"),
        Submitted.RELEASED,
        after={
            "releasing": {"a": "fence 1"},
            "leases": {"a": "1"},
            "broker": {},
            "unclaimed": {"{turgor:test}:outbox:q": 1},
            "outbox bell": True,
        },
    ),
    Case(
        "so does a dispatch",
        dispatch(),
        Dispatched(1, 0, 1, 0, 5.0),
        given=[submit("a", "elsewhere", due_in_s=1), tick(1)],
        after={"releasing": {"a": "fence 1"}, "broker": {}, "outbox bell": True},
    ),
    Case(
        "what is not claimed counts against what the workers can take, also while the broker is away",
        attend(**{"{turgor:test}:outbox:q": 2}),
        None,
        given=[
            attend(**{"{turgor:test}:outbox:q": 2}),
            submit_all("a", "b", "c", to="elsewhere"),
            take_releases(),
            tick(600),
            dispatch(),
        ],
        after={"releasing": {"a": "in -580 s", "b": "in -580 s"}, "lanes": {"elsewhere": "c"}},
    ),
    Case(
        "a start makes room for the next release",
        claim("a"),
        True,
        given=[attend(**{"{turgor:test}:outbox:q": 1}), submit_all("a", "b", to="elsewhere"), take_releases(), confirm("a")],
        after={"releasing": {"b": "fence 2"}, "lanes": {}},
    ),
)
def test_release(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@table(
    Case("of an empty outbox nothing is taken", take_releases(), ("", [], None)),
    Case(
        "what is taken is the publisher's own for a while, oldest first",
        take_releases(),
        ("a:1 b:2", [], 20.0),
        given=[submit_all("a", "b", to="elsewhere"), tick(1)],
        after={"releasing": {"a": "in 20 s", "b": "in 20 s"}},
    ),
    Case(
        "no more is taken than was asked for, and the rest is due",
        take_releases(10),
        (" ".join(f"t{n}:{n}" for n in range(1, 11)), [], 0.0),
        given=[submit_all(*(f"t{n}" for n in range(1, 12)), to="elsewhere")],
    ),
    Case("what one has taken no other gets", take_releases(), ("", [], 20.0), given=[submitted, take_releases()]),
    Case(
        "a publisher that died leaves what it had taken to the next, under the same fence",
        take_releases(),
        ("a:1", [], 20.0),
        given=[submitted, take_releases(), tick(20)],
        after={"releasing": {"a": "in 20 s"}, "leases": {"a": "1"}},
    ),
    Case("what was given back is taken at once", take_releases(), ("a:1", [], 20.0), given=[submitted, give_back]),
    Case("what the broker refused waits", take_releases(), ("", [], 30.0), given=[submitted, postpone]),
    Case(
        "what was published and claimed before its publisher died is not published again",
        take_releases(),
        ("", [], None),
        given=[submitted, take_releases(), claim("a"), tick(20)],
        after={"releasing": {}},
    ),
    Case(
        "nor is what has ended",
        take_releases(),
        ("", [], None),
        given=[submitted, take_releases(), claim("a"), finish("a"), tick(20)],
        after={"releasing": {}},
    ),
    Case(
        "of a task that was released again only the new release is published",
        take_releases(),
        ("a:2", [], 20.0),
        given=[submitted, put_back("a"), dispatch()],
        after={"releasing": {"a": "in 20 s"}},
    ),
)
def test_take_releases(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@table(
    Case(
        "what is confirmed leaves the outbox, and may be unclaimed for its time from now on",
        confirm("a"),
        1,
        given=[submitted, take_releases(), tick(3)],
        after={"releasing": {}, "deadlines": {"a": 5}, "leases": {"a": "1"}},
    ),
    Case("a confirmation that comes twice changes nothing", confirm("a"), 0, given=published, after={"releasing": {}}),
    Case(
        "a worker may be quicker than the confirmation",
        confirm("a"),
        1,
        given=[submitted, take_releases(), claim("a"), tick(3)],
        after={"releasing": {}, "deadlines": {"a": 7}, "leases": {"a": "1 w"}},
    ),
    Case(
        "so may its end",
        confirm("a", fence=1),
        1,
        given=[submitted, take_releases(), claim("a"), finish("a")],
        after={"releasing": {}},
    ),
    Case(
        "a confirmation of an old fence leaves the new release alone",
        confirm("a", fence=1),
        1,
        given=[submitted, take_releases(), put_back("a"), dispatch()],
        after={"releasing": {"a": "fence 2"}, "deadlines": {"a": 5}},
    ),
)
def test_confirm_releases(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@table(
    Case(
        "what is not published yet does not lapse",
        dispatch(),
        Dispatched(0, 0, 0, 0, 5.0),
        ONE_A_MINUTE,
        [submitted, take_releases(), tick(5)],
        {"leases": {"a": "1"}, "deadlines": {"a": 5}, "windows": {WINDOW: (0, 1)}},
    ),
    Case(
        "what is published and not claimed in time may lie in the broker's queue: somebody is to look",
        dispatch(),
        Dispatched(0, 0, 0, 0, 1.25),
        given=[*published, tick(5)],
        after={"asked": ["q"], "outbox bell": True, "leases": {"a": "1"}},
    ),
    Case(
        "a publisher is asked once",
        take_releases(),
        ("", ["q"], None),
        given=[*published, tick(5), dispatch()],
        after={"asked": []},
    ),
    Case(
        "if the queue was empty since, the release is lost: it is made again under a new fence",
        dispatch(),
        Dispatched(1, 1, 0, 0, 5.0),
        given=[*published, tick(5), dispatch(), seen_empty, tick(1.25)],
        after={"leases": {"a": "2"}, "releasing": {"a": "fence 2"}, "redelivered": {"a": 1}},
    ),
    Case(
        "that the queue was empty before the release was published says nothing",
        dispatch(),
        Dispatched(0, 0, 0, 0, 1.25),
        given=[seen_empty, submitted, tick(1), take_releases(), confirm("a"), tick(5)],
        after={"leases": {"a": "1"}, "asked": ["q"]},
    ),
    Case(
        "as long as messages lie in the queue, it is asked again",
        dispatch(),
        Dispatched(0, 0, 0, 0, 1.25),
        given=[*published, tick(5), dispatch(), take_releases(), tick(1.25)],
        after={"leases": {"a": "1"}, "asked": ["q"]},
    ),
    Case(
        "but not for ever",
        dispatch(),
        Dispatched(1, 1, 0, 0, 5.0),
        given=[*published, tick(101)],
        after={"leases": {"a": "2"}},
    ),
    Case(
        "a worker that has the message keeps it",
        dispatch(),
        Dispatched(0, 0, 0, 0, 1.0),
        given=[*published, seen_empty, tick(4), renew("a"), tick(9)],
        after={"leases": {"a": "1"}, "asked": []},
    ),
    Case(
        "a started task that lapses goes back as anywhere",
        dispatch(),
        Dispatched(1, 1, 0, 0, 5.0),
        given=[*published, claim("a"), tick(10)],
        after={"leases": {"a": "2"}, "releasing": {"a": "fence 2"}},
    ),
)
def test_lapse(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@table(
    Case(
        "a release that is not published is taken back, and its slot is free",
        withdraw("a"),
        Cancelled.CANCELLED,
        ONE_AT_A_TIME,
        [submitted],
        {"releasing": {}, "leases": {}, "slots": {}, "messages": []},
    ),
    Case(
        "so is one that is published: its message will be dropped",
        withdraw("a"),
        Cancelled.CANCELLED,
        ONE_AT_A_TIME,
        published,
        {"leases": {}, "slots": {}, "messages": []},
    ),
    Case(
        "a task that runs is not",
        withdraw("a"),
        Cancelled.RELEASED,
        ONE_AT_A_TIME,
        [*published, claim("a")],
        {"slots": {SLOTS: ["a"]}},
    ),
    Case("until it is published a task is said to be releasing", explain("a", "elsewhere"), "a: releasing", given=[submitted]),
    Case("then released", explain("a", "elsewhere"), "a: released", given=published),
    Case("and running once it is claimed", explain("a", "elsewhere"), "a: running", given=[submitted, claim("a")]),
)
def test_taking_back_and_explaining(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)
