"""What `claim`, `finish`, `put_back`, `renew` and `attend` do, case by case."""

from __future__ import annotations

from redis import Redis

from turgor.scheduler.waiting_task import Submitted

from .table import (
    GATE,
    ONE_A_MINUTE,
    ONE_AT_A_TIME,
    SLOTS,
    WINDOW,
    Case,
    attend,
    claim,
    dispatch,
    finish,
    lose,
    publish,
    put_back,
    renew,
    silence,
    submit,
    submit_all,
    table,
    tick,
)


@table(
    Case(
        "the first to ask may run the task, and its lease is renewed from now on",
        claim("a"),
        True,
        given=[submit("a"), tick(1)],
        after={"leases": {"a": "1 w"}, "deadlines": {"a": 10}, "unclaimed": {}},
    ),
    Case(
        "the same execution may ask again",
        claim("a"),
        True,
        given=[submit("a"), claim("a"), tick(1)],
        after={"deadlines": {"a": 9}},
    ),
    Case(
        "a second execution may not run it",
        claim("a", "other"),
        False,
        given=[submit("a"), claim("a")],
        after={"leases": {"a": "1 w"}},
    ),
    Case("a task that is not here may not run", claim("a", fence="1"), False, after={"leases": {}}),
    Case("a task that has ended may not run again", claim("a", fence="1"), False, given=[submit("a"), claim("a"), finish("a")]),
    Case(
        "an attempt that was released again under a new fence may not run",
        claim("a", fence="1"),
        False,
        given=[submit("a"), lose(), tick(5), dispatch()],
        after={"leases": {"a": "2"}, "unclaimed": {"q": 1}},
    ),
    Case(
        "a waiting task may not run", claim("b", fence="1"), False, ONE_A_MINUTE, [submit_all("a", "b")], {"lanes": {"api": "b"}}
    ),
    Case(
        "a start turns what was held into what is used",
        claim("a"),
        True,
        ONE_A_MINUTE,
        [submit("a"), tick(30)],
        {"windows": {WINDOW: (1, 0)}},
    ),
    Case("a start keeps the slot", claim("a"), True, ONE_AT_A_TIME, [submit("a")], {"slots": {SLOTS: ["a"]}}),
    Case(
        "a start leaves its place free until there is room for half of what a worker takes",
        claim("a"),
        True,
        given=[attend("w1", q=4), submit_all("a", "b", "c", "d", "e", "f")],
        after={"unclaimed": {"q": 3}, "lanes": {"api": "e f"}},
    ),
    Case(
        "the start that leaves so much room fills it",
        claim("b"),
        True,
        given=[attend("w1", q=4), submit_all("a", "b", "c", "d", "e", "f", "g"), claim("a")],
        after={"unclaimed": {"q": 4}, "lanes": {"api": "g"}},
    ),
    Case(
        "a place that is left free takes what ranks above those who wait",
        submit("urgent", "api high"),
        Submitted.RELEASED,
        given=[attend("w1", q=4), submit_all("a", "b", "c", "d", "e"), claim("a")],
        after={"unclaimed": {"q": 4}, "lanes": {"api": "e"}},
    ),
    Case(
        "a start makes room in the broker's queue for the next release",
        claim("a"),
        True,
        given=[attend(q=1), submit_all("a", "b"), lose()],
        after={"broker": {"q": "b"}, "unclaimed": {"q": 1}, "places": {}, "wakes": {}},
    ),
    Case(
        "the room goes to the higher priority",
        claim("a"),
        True,
        given=[attend(q=1), submit("a"), submit("b", "api low"), submit("c", "git"), submit("d", "api high"), lose()],
        after={"broker": {"q": "d"}, "lanes": {"api low": "b", "git": "c"}},
    ),
    Case(
        "a start counts under the limit that the release was charged to, also when another is in force",
        claim("a"),
        True,
        ONE_A_MINUTE,
        [submit("a"), publish({"services": {"api": {"requests_per_hour": 9}}})],
        {"windows": {WINDOW: (1, 0)}},
    ),
)
def test_claim(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@table(
    Case(
        "a task that has run leaves nothing but what it spent",
        finish("a"),
        True,
        ONE_A_MINUTE,
        [submit("a"), lose(), claim("a")],
        {"messages": [], "leases": {}, "deadlines": {}, "windows": {WINDOW: (1, 0)}, "unclaimed": {}},
    ),
    Case(
        "a task that never started gives back what it held",
        finish("a"),
        True,
        ONE_A_MINUTE,
        [submit("a")],
        {"messages": [], "windows": {}, "unclaimed": {}},
    ),
    Case(
        "what a task gives back goes to the next at once",
        finish("a"),
        True,
        ONE_A_MINUTE,
        [submit_all("a", "b"), lose()],
        {"broker": {"q": "b"}, "windows": {WINDOW: (0, 1)}, "places": {}},
    ),
    Case(
        "a free slot goes to the next at once",
        finish("a"),
        True,
        ONE_AT_A_TIME,
        [submit_all("a", "b"), lose(), claim("a")],
        {"broker": {"q": "b"}, "slots": {SLOTS: ["b"]}, "places": {}},
    ),
    Case(
        "a free slot goes to the highest priority that waits for it",
        finish("a"),
        True,
        ONE_AT_A_TIME,
        [submit("a"), submit("b", "api low"), submit("c", "api high"), submit("d"), lose(), claim("a")],
        {"broker": {"q": "c"}, "lanes": {"api low": "b", "api": "d"}},
    ),
    Case(
        "the slot of a limit that is not in force any more is free as well",
        finish("a"),
        True,
        ONE_AT_A_TIME,
        [submit("a"), claim("a"), publish({})],
        {"slots": {}},
    ),
    Case(
        "the bucket gets back what a task did not use",
        finish("a"),
        True,
        {"services": {"api": {"requests_per_minute": 9, "burst_capacity": 1}}},
        [submit_all("a", "b"), lose()],
        {"broker": {"q": "b"}},
    ),
    Case(
        "a bucket that has filled up meanwhile gets nothing back: it never holds more than its capacity",
        finish("a"),
        True,
        {"services": {"api": {"requests_per_minute": 60, "burst_capacity": 1}}},
        [submit("a"), lose(), tick(1), submit_all("b", "c", to="api of a")],
        {"broker": {"q": "b"}, "lanes": {"api of a": "c"}},
    ),
    Case("a second report changes nothing", finish("a", fence="1"), False, given=[submit("a"), claim("a"), finish("a")]),
    Case(
        "the report of an attempt that was given up changes nothing",
        finish("a", fence="1"),
        False,
        given=[submit("a"), lose(), claim("a"), tick(10), dispatch()],
        after={"leases": {"a": "2"}, "messages": ["a"]},
    ),
    Case(
        "the count of redeliveries goes with the task",
        finish("a"),
        True,
        given=[submit("a"), lose(), tick(5), dispatch()],
        after={"redelivered": {}},
    ),
)
def test_finish(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@table(
    Case(
        "a task that is given back is released again, under a new fence",
        put_back("a"),
        True,
        given=[submit("a"), lose(), claim("a")],
        after={"broker": {"q": "a"}, "leases": {"a": "2"}, "redelivered": {"a": 1}, "unclaimed": {"q": 1}},
    ),
    Case(
        "a task that is given back is the first in its lane",
        put_back("a"),
        True,
        ONE_A_MINUTE,
        [submit_all("a", "b", "c"), lose(), claim("a")],
        {"lanes": {"api": "a b c"}, "places": {"api": GATE}, "leases": {}},
    ),
    Case(
        "a task that had not started gives back what it held, and is charged again",
        put_back("a"),
        True,
        ONE_A_MINUTE,
        [submit("a"), lose()],
        {"windows": {WINDOW: (0, 1)}, "broker": {"q": "a"}},
    ),
    Case(
        "a task that had started has spent its unit",
        put_back("a"),
        True,
        ONE_A_MINUTE,
        [submit("a"), lose(), claim("a")],
        {"windows": {WINDOW: (1, 0)}, "lanes": {"api": "a"}},
    ),
    Case(
        "a slot that is given back may go to a higher priority",
        put_back("a"),
        True,
        ONE_AT_A_TIME,
        [submit("a"), submit("b", "api high"), lose(), claim("a")],
        {"slots": {SLOTS: ["b"]}, "lanes": {"api": "a"}, "broker": {"q": "b"}},
    ),
    Case("an old fence gives nothing back", put_back("a", fence="9"), False, given=[submit("a")], after={"leases": {"a": "1"}}),
    Case("a task that has ended cannot be given back", put_back("a", fence="1"), False, given=[submit("a"), finish("a")]),
)
def test_put_back(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@table(
    Case(
        "a lease that is renewed lasts from now",
        renew("a"),
        1,
        given=[submit("a"), claim("a"), tick(9)],
        after={"deadlines": {"a": 10}},
    ),
    Case(
        "a release that is not claimed yet is renewed alike",
        renew("a"),
        1,
        given=[submit("a"), tick(4)],
        after={"deadlines": {"a": 10}},
    ),
    Case(
        "many are renewed in one call",
        renew("a", "b"),
        2,
        given=[submit_all("a", "b"), tick(3)],
        after={"deadlines": {"a": 10, "b": 10}},
    ),
    Case("an old fence is not renewed", renew("a", fence="9"), 0, given=[submit("a"), tick(1)], after={"deadlines": {"a": 4}}),
    Case(
        "a task that has ended is not renewed",
        renew("a", fence="1"),
        0,
        given=[submit("a"), finish("a")],
        after={"deadlines": {}},
    ),
    Case(
        "a slot lasts as long as its lease is renewed",
        renew("a"),
        1,
        ONE_AT_A_TIME,
        [submit_all("a", "b"), lose(), claim("a"), tick(9), renew("a"), tick(9), dispatch()],
        {"slots": {SLOTS: ["a"]}, "leases": {"a": "1 w"}, "lanes": {"api": "b"}},
    ),
)
def test_renew(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@table(
    Case(
        "a queue takes what its workers can take together",
        attend("w2", q=3),
        None,
        given=[attend("w1", q=2)],
        after={"ahead": {"q": 5}},
    ),
    Case(
        "a worker that attends again counts once", attend("w1", q=3), None, given=[attend("w1", q=2)], after={"ahead": {"q": 3}}
    ),
    Case(
        "a worker that leaves does not count",
        attend("w1", q=0),
        None,
        given=[attend("w1", q=2), attend("w2", q=3)],
        after={"ahead": {"q": 3}},
    ),
    Case(
        "a worker that is silent does not count",
        attend("w2", q=3),
        None,
        given=[attend("w1", q=2), tick(20)],
        after={"ahead": {"q": 3}},
    ),
    Case(
        "the last worker to leave leaves its figure",
        attend("w1", q=0),
        None,
        given=[attend("w1", q=2)],
        after={"ahead": {"q": 2}},
    ),
    Case(
        "a queue is filled by halves of what the smallest of its workers takes",
        attend("w2", q=16),
        None,
        given=[attend("w1", q=5)],
        after={"refill": {"q": 2}},
    ),
    Case(
        "what a silent worker had may be lost with it, so each place is filled at once",
        attend("w2", q=8),
        None,
        given=[attend("w1", q=8), tick(20)],
        after={"ahead": {"q": 8}, "refill": {"q": 1}},
    ),
    Case(
        "what a silent worker had has been released again after a while",
        attend("w2", q=8),
        None,
        given=[attend("w1", q=8), tick(25)],
        after={"refill": {"q": 4}},
    ),
    Case("a claim fills four places at most", attend("w1", q=16), None, after={"refill": {"q": 4}}),
    Case("a worker that takes one at a time is given the next at once", attend("w1", q=1), None, after={"refill": {"q": 1}}),
    Case("each queue has its own figure", attend("w1", q=2, q2=7), None, after={"ahead": {"q": 2, "q2": 7}}),
    Case(
        "more room is filled at once",
        attend(q=3),
        None,
        given=[attend(q=1), submit_all("a", "b", "c", "d")],
        after={"broker": {"q": "a b c"}, "lanes": {"api": "d"}, "unclaimed": {"q": 3}},
    ),
    Case(
        "less room takes nothing back",
        attend(q=1),
        None,
        given=[attend(q=3), submit_all("a", "b", "c", "d")],
        after={"broker": {"q": "a b c"}, "lanes": {"api": "d"}},
    ),
    Case(
        "a worker that attends a queue where nothing waits wakes nobody",
        attend(q=3),
        None,
        given=[silence],
        after={"bell": False, "wakes": {}},
    ),
)
def test_attend(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)
