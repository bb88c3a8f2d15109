"""What `dispatch` does, case by case."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import pytest
from redis import Redis

from turgor.scheduler.scheduler import Dispatched

from .table import (
    GATE,
    ONE_A_MINUTE,
    ONE_AT_A_TIME,
    SLOTS,
    WINDOW,
    Case,
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


def done(released: int = 0, *, recovered: int = 0, promoted: int = 0, expired: int = 0, next_in_s: Any = None) -> Dispatched:
    return Dispatched(released, recovered, promoted, expired, next_in_s)


def about(seconds: float) -> Any:
    """A window of a minute opens at most 2% late."""
    return pytest.approx(seconds, abs=0.6)


@table(
    Case("an empty realm has nothing to do, ever", dispatch(), done()),
    Case(
        "a delay that is over joins its lane and is released",
        dispatch(),
        done(1, promoted=1, next_in_s=5),
        given=[submit("a", due_in_s=5), tick(5)],
        after={"broker": {"q": "a"}, "delayed": []},
    ),
    Case(
        "a delay that has a microsecond to go stays, and is what is next",
        dispatch(),
        done(next_in_s=1e-6),
        given=[submit("a", due_in_s=5), tick(5 - 1e-6)],
        after={"delayed": ["a"]},
    ),
    Case(
        "delays that are over at once join their lane in the order of their times",
        dispatch(),
        done(promoted=2, next_in_s=3),
        ONE_A_MINUTE,
        [submit("a"), claim("a"), submit("late", due_in_s=5), submit("early", due_in_s=4), tick(7)],
        {"lanes": {"api": "early late"}},
    ),
    Case(
        "a window that opens releases one task for each unit that comes back",
        dispatch(),
        done(1, next_in_s=5),
        ONE_A_MINUTE,
        [submit_all("a", "b", "c"), lose(), claim("a"), finish("a"), tick(61.5)],
        {"broker": {"q": "b"}, "lanes": {"api": "c"}, "windows": {WINDOW: (0, 1)}},
    ),
    Case(
        "a window that is closed is not looked at",
        dispatch(),
        done(next_in_s=about(1.2)),
        ONE_A_MINUTE,
        [submit_all("a", "b", "c"), lose(), claim("a"), finish("a"), tick(59.4), silence],
        {"broker": {}, "lanes": {"api": "b c"}},
    ),
    Case(
        "the higher priority goes first when a limit opens",
        dispatch(),
        done(1, next_in_s=5),
        ONE_A_MINUTE,
        [submit("a"), submit("b", "api low"), submit("c"), submit("d", "api high"), lose(), claim("a"), finish("a"), tick(61.5)],
        {"broker": {"q": "d"}, "lanes": {"api low": "b", "api": "c"}},
    ),
    Case(
        "lanes of one priority take turns when a limit opens",
        dispatch(),
        done(2, next_in_s=5),
        {"services": {"api": {"requests_per_minute": 2}}},
        [
            submit("a", weight=2),
            submit_all("a1", "a2", to="api of a"),
            submit_all("b1", "b2", to="api of b"),
            lose(),
            claim("a"),
            finish("a"),
            tick(61.5),
        ],
        {"lanes": {"api of a": "a2", "api of b": "b2"}},
    ),
    Case(
        "no more is tried than the budget allows, and the rest is due at once",
        dispatch(1),
        done(1, promoted=1, next_in_s=0),
        given=[submit("a", due_in_s=5), submit("b", due_in_s=5), tick(5)],
        after={"delayed": ["b"], "broker": {"q": "a"}},
    ),
    Case(
        "lanes that were promoted and not tried stand ready",
        dispatch(2),
        done(1, promoted=2, next_in_s=0),
        given=[submit("a", "api high", due_in_s=5), submit("b", "git", due_in_s=5), tick(5)],
        after={"places": {"git": "ready"}, "broker": {"q": "a"}},
    ),
    Case(
        "a release is forgotten at its deadline if it is not in the broker's queue any more",
        dispatch(),
        done(1, recovered=1, next_in_s=5),
        given=[submit("a"), lose(), tick(5)],
        after={"leases": {"a": "2"}, "broker": {"q": "a"}, "redelivered": {"a": 1}, "unclaimed": {"q": 1}},
    ),
    Case(
        "a release that nobody claimed is left alone while it lies in the broker's queue",
        dispatch(),
        done(next_in_s=5),
        ONE_AT_A_TIME,
        [submit("a"), tick(5)],
        {"leases": {"a": "1"}, "broker": {"q": "a"}, "redelivered": {}, "slots": {SLOTS: ["a"]}, "deadlines": {"a": 5}},
    ),
    Case(
        "a lost release gives back what it held, and is charged anew",
        dispatch(),
        done(1, recovered=1, next_in_s=5),
        ONE_A_MINUTE,
        [submit("a"), lose(), tick(5)],
        {"windows": {WINDOW: (0, 1)}, "broker": {"q": "a"}},
    ),
    Case(
        "a task whose worker is lost goes back to the head of its lane, and what it spent stays spent",
        dispatch(),
        done(recovered=1, next_in_s=about(50.6)),
        ONE_A_MINUTE,
        [submit_all("a", "b"), lose(), claim("a"), tick(10)],
        {"lanes": {"api": "a b"}, "windows": {WINDOW: (1, 0)}, "leases": {}, "redelivered": {"a": 1}},
    ),
    Case(
        "a lost worker's slot goes to the task itself, which is the first in its lane",
        dispatch(),
        done(1, recovered=1, next_in_s=ANY),
        ONE_AT_A_TIME,
        [submit_all("a", "b"), lose(), claim("a"), tick(10)],
        {"slots": {SLOTS: ["a"]}, "leases": {"a": "2"}, "lanes": {"api": "b"}},
    ),
    Case(
        "a limit that was raised governs what already waits",
        dispatch(),
        done(2, next_in_s=5),
        ONE_A_MINUTE,
        [submit_all("a", "b", "c", "d"), publish({"services": {"api": {"requests_per_minute": 3}}})],
        {"broker": {"q": "a b c"}, "lanes": {"api": "d"}},
    ),
    Case(
        "a limit that was taken away lets everybody go",
        dispatch(),
        done(2, next_in_s=5),
        ONE_A_MINUTE,
        [submit_all("a", "b", "c"), publish({})],
        {"broker": {"q": "a b c"}, "places": {}, "wakes": {}},
    ),
    Case(
        "a limit that was lowered below its use holds until enough has come back",
        dispatch(),
        done(next_in_s=about(60.6)),
        {"services": {"api": {"requests_per_minute": 3}}},
        [
            submit_all("a", "b", "c", "d"),
            lose(),
            claim("a"),
            finish("a"),
            claim("b"),
            finish("b"),
            claim("c"),
            finish("c"),
            publish(ONE_A_MINUTE),
        ],
        {"lanes": {"api": "d"}, "windows": {WINDOW: (3, 0)}},
    ),
    Case(
        "a task that costs more than a lowered limit holds takes all of it, in its turn",
        dispatch(),
        done(1, next_in_s=5),
        {"services": {"api": {"requests_per_minute": 3}}},
        [
            submit("a"),
            submit("b", weight=3),
            lose(),
            claim("a"),
            finish("a"),
            publish({"services": {"api": {"requests_per_minute": 2}}}),
            tick(61.5),
        ],
        {"broker": {"q": "b"}, "windows": {WINDOW: (0, 2)}},
    ),
    Case(
        "a task that has waited too long is taken out, and its message is kept until its caller is told",
        dispatch(),
        done(expired=1, next_in_s=4),
        ONE_A_MINUTE,
        [submit_all("a", "b"), submit("c", max_wait_s=1), tick(1)],
        {"lanes": {"api": "b"}, "expired": ["c"], "messages": ["a", "b"]},
    ),
    Case(
        "a wait is counted from the end of the delay",
        dispatch(),
        done(promoted=1, next_in_s=1),
        ONE_A_MINUTE,
        [submit("a"), submit("b", due_in_s=4, max_wait_s=1), tick(4)],
        {"lanes": {"api": "b"}, "expired": []},
    ),
    Case(
        "a task that was released in time does not expire",
        dispatch(),
        done(next_in_s=4),
        given=[submit("a", max_wait_s=1), tick(1)],
        after={"leases": {"a": "1"}, "expired": []},
    ),
    Case(
        "the end of a wait does not concern a later task of the same name: the first one was cancelled",
        dispatch(),
        done(next_in_s=ANY),
        ONE_A_MINUTE,
        [submit("a"), submit("b", max_wait_s=1), cancel("b"), submit("b"), tick(1)],
        {"lanes": {"api": "b"}, "expired": []},
    ),
    Case(
        "the end of a wait does not concern a later task of the same name: the first one has run",
        dispatch(),
        done(next_in_s=ANY),
        ONE_A_MINUTE,
        [submit("a", max_wait_s=1), lose(), claim("a"), finish("a"), submit("a"), tick(1)],
        {"lanes": {"api": "a"}, "expired": []},
    ),
    Case(
        "a task whose delay and whose wait are both over leaves no lane among the ready",
        dispatch(3),
        done(1, promoted=2, expired=1, next_in_s=5),
        given=[submit("a", due_in_s=1), submit("b", "git", due_in_s=1, max_wait_s=1), tick(2)],
        after={"places": {}, "lanes": {}, "expired": ["b"]},
    ),
    Case(
        "the last task of a lane that expires leaves its limit free for others",
        dispatch(),
        done(expired=1, next_in_s=4),
        ONE_A_MINUTE,
        [submit("a"), submit("b", max_wait_s=1), tick(1)],
        {"places": {}, "wakes": {}, "lanes": {}, "clocks": {}},
    ),
)
def test_dispatch(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@table(
    Case(
        "a dispatch that leaves work ready does not let the dispatchers sleep",
        dispatch(1),
        done(1, promoted=1, next_in_s=0),
        given=[submit_all("a", "b", due_in_s=1), tick(1)],
    ),
    Case(
        "the next thing is the first of a lapse, a delay, a limit and the end of a wait: here a lapse",
        dispatch(),
        done(next_in_s=5),
        ONE_A_MINUTE,
        [submit_all("a", "b"), submit("c", due_in_s=6), submit("d", max_wait_s=7)],
    ),
    Case(
        "the next thing is the first of a lapse, a delay, a limit and the end of a wait: here a delay",
        dispatch(),
        done(next_in_s=3),
        ONE_A_MINUTE,
        [submit_all("a", "b"), submit("c", due_in_s=3), submit("d", max_wait_s=7)],
    ),
    Case(
        "the next thing is the first of a lapse, a delay, a limit and the end of a wait: here a wait",
        dispatch(),
        done(next_in_s=2),
        ONE_A_MINUTE,
        [submit_all("a", "b"), submit("c", due_in_s=3), submit("d", max_wait_s=2)],
    ),
    Case(
        "the next thing is the first of a lapse, a delay, a limit and the end of a wait: here a limit",
        dispatch(),
        done(next_in_s=1),
        {"services": {"api": {"windows": [{"limit": 1, "per": "1s"}]}}},
        [submit_all("a", "b"), submit("c", due_in_s=3), submit("d", max_wait_s=2)],
        {"wakes": {GATE: 1}},
    ),
)
def test_the_reply_says_when_to_come_back(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)
