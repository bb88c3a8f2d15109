"""What a cap on the waiting work does, case by case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis import Redis

from turgor.scheduler.errors import QueueFull
from turgor.scheduler.waiting_task import Submitted

from .realm import Realm, template
from .table import (
    LANES,
    Case,
    Step,
    cancel,
    claim,
    dispatch,
    finish,
    lose,
    publish,
    put_back,
    submit,
    submit_all,
    table,
    throttle,
    tick,
)

RELEASED, WAITING, DELAYED, KNOWN = Submitted.RELEASED, Submitted.WAITING, Submitted.DELAYED, Submitted.KNOWN
ONE_BYTES = 16 + len(template("a"))


def api(per_minute: int = 1, /, **backlog: Any) -> dict[str, Any]:
    return {"services": {"api": {"requests_per_minute": per_minute, "backlog": backlog}}}


def whole(**backlog: Any) -> dict[str, Any]:
    return {"global": {"backlog": backlog}, "services": {"api": {"requests_per_minute": 1}}}


def refused(name: str, to: str = "api", **options: Any) -> Step:
    """The refusal in words, if the submit is refused."""

    def call(realm: Realm) -> str:
        try:
            return str(realm.submit(name, LANES[to], **options))
        except QueueFull as error:
            return str(error)

    return call


def full(scope: str, waits: int | str, most: int | str, retry: str, task: str = "z") -> str:
    return f"task {task}: the backlog of {scope} is full: {waits} of {most} wait; try again in {retry} s"


@table(
    Case(
        "what waits is counted, with the bytes of its message",
        submit("b"),
        WAITING,
        api(limit=5),
        [submit("a")],
        {"backlog": {"service:api": (1, ONE_BYTES)}, "lanes": {"api": "b"}},
    ),
    Case("what is released at once is not", submit("a"), RELEASED, api(limit=1), after={"backlog": {}}),
    Case(
        "what joins a lane is counted too",
        submit("c"),
        WAITING,
        api(limit=5),
        [submit_all("a", "b")],
        {"backlog": {"service:api": (2, 2 * ONE_BYTES)}, "lanes": {"api": "b c"}},
    ),
    Case(
        "what is delayed is counted",
        submit("a", due_in_s=60),
        DELAYED,
        api(limit=5),
        after={"backlog": {"service:api": (1, ONE_BYTES)}},
    ),
    Case(
        "of scopes without a cap nothing is counted",
        submit("g", "git", due_in_s=5),
        DELAYED,
        api(limit=1),
        after={"backlog": {}},
    ),
)
def test_counting(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@table(
    Case(
        "a task for which there is no room is refused, and nothing is changed",
        refused("z"),
        full("service:api", 1, "1 tasks", "60"),
        api(limit=1),
        [submit_all("a", "b")],
        {"backlog": {"service:api": (1, ONE_BYTES)}, "lanes": {"api": "b"}, "messages": ["a", "b"]},
    ),
    Case(
        "so is a delayed one",
        refused("z", due_in_s=5),
        full("service:api", 1, "1 tasks", "60"),
        api(limit=1),
        [submit_all("a", "b")],
        {"delayed": [], "messages": ["a", "b"]},
    ),
    Case(
        "the cap holds for bytes",
        refused("z"),
        full("service:api", f"{ONE_BYTES}B", f"{ONE_BYTES + 1}B", "60"),
        api(bytes=ONE_BYTES + 1),
        [submit_all("a", "b")],
        {"messages": ["a", "b"]},
    ),
    Case(
        "a message that is larger than the cap is told so",
        refused("z", due_in_s=5),
        "task z: the backlog of service:api is full: 0B of 5B wait; it is larger than that",
        api(bytes=5),
    ),
    Case(
        "bytes to the last one fit",
        submit("b"),
        WAITING,
        api(bytes=ONE_BYTES),
        [submit("a")],
    ),
    Case(
        "the total is the cap of the global scope",
        refused("z", "git", due_in_s=5),
        full("global", 1, "1 tasks", "1"),
        whole(limit=1),
        [submit_all("a", "b")],
    ),
    Case(
        "the narrowest full scope is named",
        refused("z"),
        full("service:api", 1, "1 tasks", "60"),
        {"global": {"backlog": {"limit": 1}}, **api(limit=1)},
        [submit_all("a", "b")],
    ),
    Case(
        "a template gives each loop a cap of its own",
        submit("c", "api of b"),
        WAITING,
        {**api(limit=5), "loops": {"*": {"backlog": {"limit": 1}}}},
        [submit("a"), submit("b", "api of a")],
        {"backlog": {"service:api": (2, 2 * ONE_BYTES), "loop:a": (1, ONE_BYTES), "loop:b": (1, ONE_BYTES)}},
    ),
    Case(
        "a loop that has its share is refused",
        refused("z", "api of a"),
        full("loop:a", 1, "1 tasks", "60"),
        {**api(limit=5), "loops": {"*": {"backlog": {"limit": 1}}}},
        [submit("a"), submit("b", "api of a")],
    ),
    Case(
        "who would go before all that waits, and be released now, needs no room",
        submit("c", "api high"),
        RELEASED,
        api(limit=1),
        [submit_all("a", "b"), claim("a"), tick(61.5)],
        {"backlog": {"service:api": (1, ONE_BYTES)}, "lanes": {"api": "b"}, "broker": {"q": "a c"}},
    ),
    Case(
        "a higher priority that would have to wait is refused",
        refused("z", "api high"),
        full("service:api", 1, "1 tasks", "60"),
        api(limit=1),
        [submit_all("a", "b")],
    ),
    Case(
        "what continues accepted work is counted, and finds room",
        submit("c", continues=True),
        WAITING,
        api(limit=1),
        [submit_all("a", "b")],
        {"backlog": {"service:api": (2, 2 * ONE_BYTES)}, "lanes": {"api": "b c"}},
    ),
    Case(
        "the more is too much, the longer it takes",
        refused("z"),
        full("service:api", 3, "1 tasks", "180"),
        api(limit=1),
        [submit_all("a", "b"), submit("c", continues=True), submit("d", continues=True)],
    ),
    Case(
        "a repeated submit is known, not refused",
        lambda realm: realm.submit("b", LANES["api"], token=b"token  b"),
        KNOWN,
        api(limit=1),
        [submit("a"), submit("b", token=b"token  b")],
    ),
)
def test_no_room(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


def shed(limit: int = 2, **others: Any) -> dict[str, Any]:
    return api(limit=limit, overflow="shed", **others)


def dropped(realm: Realm) -> dict[str, str]:
    return {each.task: each.shed_by for each in realm.scheduler.expired()}


@table(
    Case(
        "of those with the lowest priority the one that waits longest is dropped for a new task",
        submit("z"),
        WAITING,
        shed(3),
        [submit("a"), submit("h", "api high"), tick(1), submit("b"), tick(1), submit("c")],
        {"lanes": {"api": "c z", "api high": "h"}, "expired": ["b"], "messages": ["a", "c", "h", "z"], "bell": True},
    ),
    Case(
        "a lower priority goes before one that waits longer",
        submit("z"),
        WAITING,
        shed(),
        [submit_all("a", "b"), tick(1), submit("l", "api low")],
        {"lanes": {"api": "b z"}, "expired": ["l"]},
    ),
    Case(
        "a task that ranks below all that waits is refused itself",
        refused("z", "api low"),
        full("service:api", 2, "2 tasks", "60"),
        shed(),
        [submit_all("a", "b", "c")],
        {"expired": [], "lanes": {"api": "b c"}},
    ),
    Case(
        "a delayed task is dropped like any other, the last that is due last",
        submit("z", due_in_s=5),
        DELAYED,
        shed(),
        [submit("d", due_in_s=60), submit("e", due_in_s=30)],
        {"expired": ["e"], "delayed": ["z", "d"], "backlog": {"service:api": (2, 2 * ONE_BYTES)}},
    ),
    Case(
        "what was released once is never dropped",
        refused("z"),
        full("service:api", 1, "1 tasks", "60.2"),
        shed(1),
        [submit("a"), claim("a"), put_back("a")],
        {"expired": []},
    ),
    Case(
        "nor if that was before there was a cap, and its service refused it",
        refused("z"),
        full("service:api", 1, "1 tasks", "1"),
        {"services": {"api": {}}},
        [submit("a"), claim("a"), throttle("a"), publish(shed(1)), *[dispatch()] * 6],
        {"expired": []},
    ),
    Case(
        "nor is what continues accepted work",
        refused("z"),
        full("service:api", 1, "1 tasks", "60"),
        shed(1),
        [submit("a"), submit("b", continues=True)],
        {"expired": []},
    ),
    Case(
        "a message makes room for its bytes",
        submit("z"),
        WAITING,
        shed(5, bytes=2 * ONE_BYTES),
        [submit_all("a", "b", "c")],
        {"expired": ["b"], "lanes": {"api": "c z"}},
    ),
    Case(
        "where a wider scope is full as well, one task makes room in both",
        submit("z"),
        WAITING,
        {"global": {"backlog": {"limit": 2}}, **shed()},
        [submit_all("a", "b", "c")],
        {"expired": ["b"], "lanes": {"api": "c z"}},
    ),
    Case(
        "nobody is dropped for a task that is refused elsewhere",
        refused("z"),
        full("global", 2, "2 tasks", "60"),
        {"global": {"backlog": {"limit": 2}}, **shed(5)},
        [submit_all("a", "b", "c")],
        {"expired": [], "lanes": {"api": "b c"}},
    ),
    Case(
        "the caller of a dropped task is told where there was no room",
        dropped,
        {"b": "service:api"},
        shed(1),
        [submit_all("a", "b", "c")],
    ),
)
def test_shedding(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


NOBODY: dict[str, Any] = {"backlog": {}}
WAITS: dict[str, Any] = {"backlog": {"service:api": (1, ONE_BYTES)}}


@table(
    Case(
        "a release leaves the backlog",
        dispatch(),
        lambda: None,
        api(limit=5),
        [submit_all("a", "b"), claim("a"), finish("a"), tick(61.5)],
        NOBODY,
    ),
    Case("so does a cancelled task", cancel("b"), lambda: None, api(limit=5), [submit_all("a", "b")], NOBODY),
    Case(
        "so does one that has waited too long",
        dispatch(),
        lambda: None,
        api(limit=5),
        [submit("a"), submit("b", max_wait_s=1), tick(1)],
        NOBODY,
    ),
    Case(
        "a promoted task waits on", dispatch(), lambda: None, api(limit=5), [submit("a"), submit("b", due_in_s=1), tick(1)], WAITS
    ),
    Case(
        "a task that is put back waits again, room or no room",
        put_back("a"),
        True,
        api(limit=1),
        [submit_all("a", "b"), publish(api(limit=1, bytes="1kB"))],
        {},
    ),
    Case("a throttled task waits again", throttle("a"), True, api(5, limit=5), [submit("a"), claim("a")], WAITS),
    Case("a lapsed lease waits again", dispatch(), lambda: None, api(limit=5), [submit("a"), claim("a"), tick(11)], WAITS),
    Case(
        "a release that was lost waits or goes out again",
        dispatch(),
        lambda: None,
        api(limit=5),
        [submit("a"), lose(), tick(6)],
        NOBODY,
    ),
    Case("the end of a task changes nothing", finish("a"), True, api(limit=5), [submit_all("a", "b"), claim("a")], WAITS),
)
def test_coming_and_going(case: Case, redis_client: Redis) -> None:
    if callable(case.reply):
        case.call, case.reply = _unheard(case.call), None
    case.run(redis_client)


def _unheard(call: Step) -> Callable[[Realm], None]:
    def unheard(realm: Realm) -> None:
        call(realm)

    return unheard
