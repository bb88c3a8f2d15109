"""What `withdraw`, `discard_lane` and `discard_delayed` do, case by case."""

from __future__ import annotations

from redis import Redis

from turgor.scheduler.scheduler import Cancelled

from .realm import Realm
from .table import (
    GATE,
    LANES,
    ONE_A_MINUTE,
    ONE_AT_A_TIME,
    TEN_TOKENS,
    WINDOW,
    Case,
    Step,
    attend,
    claim,
    dispatch,
    finish,
    lose,
    publish,
    silence,
    submit,
    submit_all,
    table,
    tick,
)

CANCELLED, RELEASED, UNKNOWN = Cancelled.CANCELLED, Cancelled.RELEASED, Cancelled.UNKNOWN


def withdraw(name: str, to: str = "api", *, revoked: bool = True, **cost: int) -> Step:
    return lambda realm: realm.scheduler.withdraw(name, LANES[to], revoked=revoked, **cost, now_us=realm.now_us)


@table(
    Case(
        "a waiting task leaves its lane, and its caller is to be told",
        withdraw("b"),
        CANCELLED,
        ONE_A_MINUTE,
        [submit_all("a", "b", "c")],
        {
            "lanes": {"api": "c"},
            "places": {"api": GATE},
            "messages": ["a", "c"],
            "windows": {WINDOW: (0, 1)},
            "expired": ["b"],
        },
    ),
    Case(
        "of a task that is discarded nobody is told",
        withdraw("b", revoked=False),
        CANCELLED,
        ONE_A_MINUTE,
        [submit_all("a", "b")],
        {"lanes": {}, "places": {}, "messages": ["a"], "expired": []},
    ),
    Case(
        "a delayed task never comes",
        withdraw("a"),
        CANCELLED,
        given=[submit("a", due_in_s=9)],
        after={"delayed": [], "messages": [], "expired": ["a"]},
    ),
    Case(
        "a task that waits with a deadline does not expire any more",
        withdraw("b"),
        CANCELLED,
        ONE_A_MINUTE,
        [submit("a"), submit("b", max_wait_s=5)],
        {"messages": ["a"], "expired": ["b"]},
    ),
    Case(
        "a released task that nobody has popped leaves the broker's queue, uncharged",
        withdraw("a"),
        CANCELLED,
        ONE_A_MINUTE,
        [submit("a")],
        {"broker": {}, "leases": {}, "messages": [], "unclaimed": {}, "windows": {}, "expired": ["a"]},
    ),
    Case(
        "what it held goes to the next one at once",
        withdraw("a"),
        CANCELLED,
        ONE_AT_A_TIME,
        [submit_all("a", "b")],
        {"broker": {"q": "b"}, "leases": {"b": "2"}, "lanes": {}, "expired": ["a"]},
    ),
    Case(
        "the place that it had in the queue goes to the next one",
        withdraw("a"),
        CANCELLED,
        given=[attend(q=1), submit_all("a", "b")],
        after={"broker": {"q": "b"}, "unclaimed": {"q": 1}},
    ),
    Case(
        "a message that a worker has popped is the worker's",
        withdraw("a"),
        RELEASED,
        ONE_A_MINUTE,
        [submit("a"), lose()],
        {"leases": {"a": "1"}, "messages": ["a"], "expired": []},
    ),
    Case(
        "a running task is the worker's",
        withdraw("a"),
        RELEASED,
        given=[submit("a"), claim("a")],
        after={"messages": ["a"], "expired": []},
    ),
    Case("a task that has ended", withdraw("a"), UNKNOWN, given=[submit("a"), finish("a")], after={"expired": []}),
    Case(
        "a task that is not in that lane stays where it is",
        withdraw("b", "git"),
        UNKNOWN,
        ONE_A_MINUTE,
        [submit_all("a", "b")],
        {"lanes": {"api": "b"}, "messages": ["a", "b"], "expired": []},
    ),
    Case(
        "a task that came back from a lost worker leaves no trace",
        withdraw("a"),
        CANCELLED,
        ONE_A_MINUTE,
        [submit("a"), lose(), claim("a"), tick(10), dispatch()],
        {"redelivered": {}, "lanes": {}},
    ),
    Case(
        "who waited behind a costly task does not wait for its cost any longer",
        withdraw("b", tokens=9),
        CANCELLED,
        TEN_TOKENS,
        [submit("a", tokens=8), submit("b", tokens=9), submit("c", tokens=1), silence],
        {"lanes": {"api": "c"}, "bell": True},
    ),
)
def test_withdraw(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)
    assert_no_wait_ends(redis_client)


def assert_no_wait_ends(client: Redis) -> None:
    assert not client.exists(Realm(client).keys("deadlines"))


def discard(most: int, of: str = "api") -> Step:
    return lambda realm: realm.scheduler.discard_lane(LANES[of], most, now_us=realm.now_us)


@table(
    Case("an empty lane", discard(5), 0),
    Case(
        "the newest go first",
        discard(2),
        2,
        ONE_A_MINUTE,
        [submit_all("a", "b", "c", "d")],
        {"lanes": {"api": "b"}, "places": {"api": GATE}, "messages": ["a", "b"], "expired": []},
    ),
    Case(
        "the last one takes the lane along",
        discard(5),
        3,
        ONE_A_MINUTE,
        [submit("a"), submit("b", max_wait_s=5), submit_all("c", "d")],
        {"lanes": {}, "places": {}, "wakes": {}, "clocks": {}, "messages": ["a"]},
    ),
    Case(
        "exactly as many as there are",
        discard(2),
        2,
        ONE_A_MINUTE,
        [submit_all("a", "b", "c")],
        {"lanes": {}, "places": {}, "messages": ["a"]},
    ),
    Case(
        "other lanes stay",
        discard(9),
        1,
        ONE_A_MINUTE,
        [submit_all("a", "b"), submit("c", "api low")],
        {"lanes": {"api low": "c"}, "places": {"api low": GATE}},
    ),
    Case(
        "a lane whose limits were taken away",
        discard(9),
        1,
        ONE_A_MINUTE,
        [submit_all("a", "b"), publish({})],
        {"lanes": {}, "places": {}, "wakes": {}},
    ),
)
def test_discard_lane(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)
    assert_no_wait_ends(redis_client)


def discard_delayed(realm: Realm) -> int:
    entries = realm.client.zrange(realm.keys("delayed"), 0, -1)
    return realm.scheduler.discard_delayed([*entries, *entries], now_us=realm.now_us)


@table(
    Case(
        "delayed tasks are gone, each counted once",
        discard_delayed,
        2,
        given=[submit("a", due_in_s=9), submit("b", due_in_s=8, max_wait_s=1)],
        after={"delayed": [], "messages": [], "expired": []},
    ),
    Case("there are none", discard_delayed, 0),
)
def test_discard_delayed(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)
    assert_no_wait_ends(redis_client)
