"""A lane that passes from the gate of a narrow limit to that of a wider one, and on to a third: who sleeps, and who is woken."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from turgor.scheduler.scheduler import SCRIPTS, Dispatched

from .mutants import Mutant
from .table import GATE, Case, Step, claim, dispatch, finish, lose, pause, submit, table, tick

SERVICE, ENDPOINT, PLANNERS = GATE, "endpoint:api/chat|requests", "loop_type:planner|requests"
# An endpoint that takes one task in five seconds, of a service that takes two at a time.
NESTED: dict[str, Any] = {
    "services": {"api": {"max_in_flight": 2, "endpoints": {"chat": {"windows": [{"limit": 1, "per": "5s"}]}}}, "git": {}},
}
SENT_ON: list[Step] = [
    *(submit("used", "chat"), lose(), claim("used"), finish("used")),
    *(submit("first", "chat of planners high"), submit("second", "chat")),
    *(submit("x"), submit("y"), lose(), claim("x"), claim("y")),
    *(tick(5.2), dispatch(), pause("loop_type:planner")),
]
DEFECTS = (
    Mutant("who is refused elsewhere wakes nobody", "    lane.wake_narrower(self, each, at)\n", ""),
    Mutant("who goes to wait elsewhere wakes nobody", "  lane.wake_narrower(self, origin, at)\n", ""),
)
ROWS = (
    Case(
        "while the best lane of an endpoint waits for the service, the endpoint sleeps as long as the service does",
        dispatch(),
        Dispatched(0, 0, 0, 0, pytest.approx(4.8)),
        NESTED,
        SENT_ON[:-1],
        {
            "places": {"chat of planners high": SERVICE, "chat": ENDPOINT},
            "wakes": {SERVICE: pytest.approx(86_404.8), ENDPOINT: pytest.approx(86_404.8)},
        },
    ),
    Case(
        "when it is refused by a third limit, the endpoint is tried again for the next lane",
        finish("x"),
        True,
        NESTED,
        SENT_ON,
        {"places": {"chat of planners high": PLANNERS, "chat": ENDPOINT}, "wakes": {PLANNERS: 1.0, ENDPOINT: 0.0}},
    ),
    Case(
        "and so it is when it goes to wait behind others at a third limit",
        finish("x"),
        True,
        NESTED,
        [*SENT_ON, submit("z", "git of planners high")],
        {
            "places": {"chat of planners high": PLANNERS, "git of planners high": PLANNERS, "chat": ENDPOINT},
            "wakes": {PLANNERS: 0.0, ENDPOINT: 0.0},
        },
    ),
)


@table(*ROWS)
def test_nested(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@pytest.mark.parametrize(("defect", "row"), [*zip(DEFECTS, ROWS[1:], strict=True)], ids=lambda each: getattr(each, "defect", ""))
def test_a_planted_defect_shows(defect: Mutant, row: Case, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    defect.plant(SCRIPTS, monkeypatch)
    with pytest.raises(AssertionError):
        row.run(redis_client)
