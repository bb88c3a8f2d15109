"""What `submit` does, case by case."""

from __future__ import annotations

import pytest
from redis import Redis

from turgor.limits.errors import CostTooLarge
from turgor.scheduler.waiting_task import Submitted

from .realm import Realm
from .table import (
    GATE,
    LANES,
    ONE_A_MINUTE,
    ONE_AT_A_TIME,
    SLOTS,
    TEN_TOKENS,
    WINDOW,
    Case,
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

RELEASED, WAITING, DELAYED, KNOWN = Submitted.RELEASED, Submitted.WAITING, Submitted.DELAYED, Submitted.KNOWN


@table(
    Case(
        "a task that no limit concerns is released at once",
        submit("a"),
        RELEASED,
        after={"broker": {"q": "a"}, "leases": {"a": "1"}, "lanes": {}, "unclaimed": {"q": 1}, "windows": {}, "messages": ["a"]},
    ),
    Case(
        "a task whose limits allow it is released at once, and its unit is held",
        submit("a"),
        RELEASED,
        ONE_A_MINUTE,
        after={"broker": {"q": "a"}, "windows": {WINDOW: (0, 1)}, "wakes": {}},
    ),
    Case(
        "a task that takes the last slot is released at once",
        submit("a"),
        RELEASED,
        ONE_AT_A_TIME,
        after={"broker": {"q": "a"}, "slots": {SLOTS: ["a"]}},
    ),
    Case(
        "a refused task waits in its lane, parked at the limit that refused it, and is charged to none",
        submit("b"),
        WAITING,
        {"global": {"requests_per_minute": 5}, **ONE_A_MINUTE},
        [submit("a")],
        {
            "places": {"api": GATE},
            "lanes": {"api": "b"},
            "wakes": {GATE: 60},
            "windows": {WINDOW: (0, 1), "global:requests/1m": (0, 1)},
        },
    ),
    Case(
        "of two limits that refuse, the one that opens last has the lane",
        submit("b", weight=2),
        WAITING,
        {"global": {"windows": [{"limit": 2, "per": "10s"}]}, "services": {"api": {"windows": [{"limit": 2, "per": "60s"}]}}},
        [submit("a")],
        {"places": {"api": GATE}, "wakes": {GATE: 60}},
    ),
    Case(
        "a lane that exists takes a task without a look at any limit",
        submit("c"),
        WAITING,
        ONE_A_MINUTE,
        [submit("a"), submit("b"), silence],
        {"lanes": {"api": "b c"}, "places": {"api": GATE}, "bell": False},
    ),
    Case(
        "a new lane goes behind those that wait at one of its limits",
        submit("c", "api of a"),
        WAITING,
        ONE_A_MINUTE,
        [submit("a"), submit("b")],
        {"places": {"api": GATE, "api of a": GATE}},
    ),
    Case(
        "a new lane goes behind those who wait even if its limits would allow it now",
        submit("c", "api of a"),
        WAITING,
        ONE_A_MINUTE,
        [submit("a"), submit("b"), claim("a"), tick(61.5)],
        {"lanes": {"api": "b", "api of a": "c"}, "bell": True},
    ),
    Case(
        "a higher priority does not go behind a lower one: it is tried at once",
        submit("c", "api high"),
        RELEASED,
        ONE_A_MINUTE,
        [submit("a"), submit("b"), claim("a"), tick(61.5)],
        {"lanes": {"api": "b"}, "broker": {"q": "a c"}},
    ),
    Case(
        "a higher priority that is refused is the first at the limit",
        submit("c", "api high"),
        WAITING,
        ONE_A_MINUTE,
        [submit("a"), submit("b")],
        {"places": {"api high": GATE, "api": GATE}},
    ),
    Case(
        "work that does not count in a limit's unit passes those who wait for it",
        submit("c", "api of a"),
        RELEASED,
        TEN_TOKENS,
        [submit("a", tokens=8), submit("b", tokens=8)],
        {"lanes": {"api": "b"}, "places": {"api": "service:api|tokens"}},
    ),
    Case(
        "unlimited work passes every closed limit",
        submit("c", "free"),
        RELEASED,
        {"global": {"requests_per_minute": 1}},
        [submit("a"), submit("b")],
        {"lanes": {"api": "b"}, "broker": {"q": "a c"}},
    ),
    Case(
        "a task with a later time is delayed, and the dispatchers are told",
        submit("a", due_in_s=5),
        DELAYED,
        given=[silence],
        after={"delayed": ["a"], "lanes": {}, "bell": True},
    ),
    Case(
        "a task whose time is over is not delayed",
        submit("a", due_in_s=-5),
        RELEASED,
        after={"delayed": [], "broker": {"q": "a"}},
    ),
    Case(
        "a later time than the one they wake for does not wake the dispatchers",
        submit("b", due_in_s=9),
        DELAYED,
        given=[submit("a", due_in_s=5), silence],
        after={"delayed": ["a", "b"], "bell": False},
    ),
    Case(
        "a full broker queue holds work back that every limit allows",
        submit("b"),
        WAITING,
        given=[attend(q=1), submit("a")],
        after={"places": {"api": "queue:q|requests"}, "broker": {"q": "a"}, "unclaimed": {"q": 1}},
    ),
    Case(
        "a full broker queue does not hold another one's work back",
        submit("b", "git on q2"),
        RELEASED,
        given=[attend(q=1), submit("a")],
        after={"broker": {"q": "a", "q2": "b"}, "unclaimed": {"q": 1, "q2": 1}},
    ),
    Case(
        "a queue that no worker attends takes a hundred",
        submit("last"),
        WAITING,
        given=[submit_all(*(f"t{n}" for n in range(100)))],
        after={"unclaimed": {"q": 100}, "lanes": {"api": "last"}},
    ),
    Case(
        "a limit of the template is each loop's own",
        submit("b", "api of b"),
        RELEASED,
        {"loops": {"*": {"requests_per_minute": 1}}},
        [submit("a", "api of a"), submit("a2", "api of a")],
        {"lanes": {"api of a": "a2"}, "windows": {"loop:a:requests/1m": (0, 1), "loop:b:requests/1m": (0, 1)}},
    ),
    Case(
        "a named loop has its own limits and not the template's",
        submit("b", "api of a"),
        RELEASED,
        {"loops": {"*": {"requests_per_minute": 1}, "a": {"requests_per_minute": 2}}},
        [submit("a", "api of a")],
        {"windows": {"loop:a:requests/1m": (0, 2)}},
    ),
    Case(
        "new limits hold for the next submit",
        submit("b"),
        WAITING,
        ONE_A_MINUTE,
        [publish({"services": {"api": {"requests_per_minute": 2}}}), submit("a"), publish(ONE_A_MINUTE)],
        {"lanes": {"api": "b"}},
    ),
)
def test_submit(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


TOKEN = b"the same"


@table(
    Case(
        "a submit that is repeated while the task waits is known",
        submit("b", token=TOKEN),
        KNOWN,
        ONE_A_MINUTE,
        [submit("a"), submit("b", token=TOKEN)],
        {"lanes": {"api": "b"}},
    ),
    Case(
        "a submit that is repeated while the task runs is known",
        submit("a", token=TOKEN),
        KNOWN,
        given=[submit("a", token=TOKEN), lose(), claim("a")],
        after={"broker": {}, "lanes": {}},
    ),
    Case(
        "a submit that is repeated after the task has ended is known",
        submit("a", token=TOKEN),
        KNOWN,
        given=[submit("a", token=TOKEN), lose(), claim("a"), finish("a"), tick(59)],
        after={"messages": []},
    ),
    Case(
        "a submit that is repeated after the task was cancelled is known",
        submit("a", token=TOKEN),
        KNOWN,
        given=[submit("a", due_in_s=9, token=TOKEN), cancel("a")],
        after={"messages": []},
    ),
    Case(
        "a submit that is repeated after the task has waited too long is known",
        submit("b", token=TOKEN),
        KNOWN,
        ONE_A_MINUTE,
        [submit("a"), submit("b", token=TOKEN, max_wait_s=1), tick(2), dispatch()],
        {"messages": ["a"], "expired": ["b"]},
    ),
    Case(
        "a submit of a name that is here is known, whoever sends it",
        submit("b"),
        KNOWN,
        ONE_A_MINUTE,
        [submit("a"), submit("b")],
        {"lanes": {"api": "b"}},
    ),
    Case(
        "a new submit of a name that has gone is new work",
        submit("a"),
        RELEASED,
        given=[submit("a"), lose(), claim("a"), finish("a")],
        after={"broker": {"q": "a"}},
    ),
)
def test_a_task_is_accepted_once(case: Case, redis_client: Redis) -> None:
    case.run(redis_client)


@pytest.mark.parametrize(
    ("limits", "cost", "binding"),
    [
        pytest.param(ONE_A_MINUTE, {"weight": 2}, "service:api requests/1m", id="in requests"),
        pytest.param(TEN_TOKENS, {"tokens": 11}, "service:api tokens/1m", id="in tokens"),
        pytest.param(
            {"services": {"api": {"requests_per_minute": 9, "burst_capacity": 1}}},
            {"weight": 2},
            "service:api burst",
            id="in a burst",
        ),
    ],
)
def test_work_that_no_limit_could_ever_admit_is_refused_and_leaves_nothing(
    limits: dict[str, object], cost: dict[str, int], binding: str, redis_client: Redis
) -> None:
    realm = Realm(redis_client, limits)
    before = realm.state()
    with pytest.raises(CostTooLarge, match=binding):
        realm.submit("a", LANES["api"], **cost)
    assert realm.state() == before


def test_any_weight_fits_a_cap_on_work_in_flight(redis_client: Redis) -> None:
    realm = Realm(redis_client, ONE_AT_A_TIME)
    assert realm.submit("a", LANES["api"], weight=9) is RELEASED


def test_the_holes_of_the_envelope_are_filled_with_the_fence_and_a_new_delivery_tag(redis_client: Redis) -> None:
    realm = Realm(redis_client)
    realm.submit("a", LANES["api"])
    (envelope,) = realm.state().queues["q"]
    assert envelope == b'{"task": "a", "fence": 1, "tag": "{turgor:test}:1"}'
