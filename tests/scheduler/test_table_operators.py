"""What `cancel` and `explain` do, case by case."""

from __future__ import annotations

from redis import Redis

from turgor.scheduler.explanation import Explanation, TaskState
from turgor.scheduler.scheduler import Cancelled

from .table import (
    GATE,
    LANES,
    ONE_A_MINUTE,
    TEN_TOKENS,
    WINDOW,
    Case,
    Step,
    attend,
    cancel,
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


@table(
    Case(
        "a waiting task leaves its lane",
        cancel("b"),
        CANCELLED,
        ONE_A_MINUTE,
        [submit_all("a", "b", "c")],
        {"lanes": {"api": "c"}, "places": {"api": GATE}, "messages": ["a", "c"], "windows": {WINDOW: (0, 1)}},
    ),
    Case(
        "the last task of a lane takes the lane along",
        cancel("b"),
        CANCELLED,
        ONE_A_MINUTE,
        [submit_all("a", "b")],
        {"lanes": {}, "places": {}, "wakes": {}, "clocks": {}},
    ),
    Case(
        "a delayed task never comes",
        cancel("a"),
        CANCELLED,
        given=[submit("a", due_in_s=9)],
        after={"delayed": [], "messages": []},
    ),
    Case("a released task is on its way to a worker", cancel("a"), RELEASED, given=[submit("a")], after={"messages": ["a"]}),
    Case("a running task is not stopped", cancel("a"), RELEASED, given=[submit("a"), claim("a")], after={"messages": ["a"]}),
    Case("a task that nobody knows", cancel("a"), UNKNOWN, after={"messages": []}),
    Case("a task that has ended", cancel("a"), UNKNOWN, given=[submit("a"), finish("a")], after={"messages": []}),
    Case(
        "a task that is not in that lane stays where it is",
        cancel("b", "git"),
        UNKNOWN,
        ONE_A_MINUTE,
        [submit_all("a", "b")],
        {"lanes": {"api": "b"}, "messages": ["a", "b"]},
    ),
    Case(
        "a task of another cost stays where it is",
        cancel("b", weight=2),
        UNKNOWN,
        ONE_A_MINUTE,
        [submit_all("a", "b")],
        {"lanes": {"api": "b"}, "messages": ["a", "b"]},
    ),
    Case(
        "who waited behind a costly task does not wait for its cost any longer",
        cancel("b", tokens=9),
        CANCELLED,
        TEN_TOKENS,
        [submit("a", tokens=8), submit("b", tokens=9), submit("c", tokens=1), silence],
        {"lanes": {"api": "c"}, "bell": True},
    ),
    Case(
        "the last task of a lane leaves no trace at a limit that was taken away since",
        cancel("b"),
        CANCELLED,
        ONE_A_MINUTE,
        [submit_all("a", "b"), publish({})],
        {"lanes": {}, "places": {}, "wakes": {}},
    ),
    Case(
        "a task that came back from a lost worker leaves no trace",
        cancel("a"),
        CANCELLED,
        ONE_A_MINUTE,
        [submit("a"), lose(), claim("a"), tick(10), dispatch()],
        {"redelivered": {}, "lanes": {}},
    ),
)
def test_cancel(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


def explain(name: str, to: str = "api", **cost: int) -> Step:
    return lambda realm: realm.scheduler.explain(name, LANES[to], **cost, now_us=realm.now_us)


@table(
    Case(
        "a waiting task: how many are before it, what holds it, and until when",
        explain("c"),
        Explanation("c", TaskState.WAITING, 1, "service:api requests/1m", 60),
        ONE_A_MINUTE,
        [submit_all("a", "b", "c")],
    ),
    Case(
        "a waiting task that nothing holds any more",
        explain("b"),
        Explanation("b", TaskState.WAITING),
        ONE_A_MINUTE,
        [submit_all("a", "b"), publish({})],
    ),
    Case(
        "a waiting task whose queue is full",
        explain("b"),
        Explanation("b", TaskState.WAITING, 0, "queue:q ahead", 1),
        given=[attend(q=1), submit_all("a", "b")],
    ),
    Case("a delayed task", explain("a"), Explanation("a", TaskState.DELAYED, opens_in_s=9), given=[submit("a", due_in_s=9)]),
    Case("a released task", explain("a"), Explanation("a", TaskState.RELEASED), given=[submit("a")]),
    Case("a running task", explain("a"), Explanation("a", TaskState.RUNNING), given=[submit("a"), claim("a")]),
    Case("a task that has ended", explain("a"), Explanation("a", TaskState.UNKNOWN), given=[submit("a"), finish("a")]),
    Case(
        "a task that is not in that lane",
        explain("b", "git"),
        Explanation("b", TaskState.UNKNOWN),
        ONE_A_MINUTE,
        [submit_all("a", "b")],
    ),
)
def test_explain(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)
