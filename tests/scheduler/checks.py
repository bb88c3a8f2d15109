"""What is stored must be what the model says, and whoever waits must be woken."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from turgor.limits.limit import LimitKind, Unit
from turgor.scheduler.coalesce_key import CoalesceKey
from turgor.scheduler.demand import Demand
from turgor.scheduler.desired_workers import desired_workers
from turgor.scheduler.scheduler import SECOND_US

from .accounts import cost_of, units_of
from .precedence import first_at, precedes
from .realm import State, Window, bucket_is_full_us

if TYPE_CHECKING:
    from turgor.scheduler.waiting_task import WaitingTask

    from .model import Model

# A lane that was sent to and fro between two limits may keep one of them shut for so long, until the other opens.
LONGEST_HOLD_US = SECOND_US
FOR_EVER = {
    "fence",
    "version",
    "config",
    "configs",
    "history",
    "dispatched",
    "asleep",
    "bell",
    "ahead",
    "refill",
    "estimates",
    "run_times",
    "capped",
    "emptied",
    "outbox_bell",
}
FOR_A_WHILE = {"done", "limit", "limits", "parked", "room", "wanted", "regulator", "regulators", "workers"}


def compare(model: Model, state: State) -> None:
    """All that is stored, after a call."""
    assert state.messages == {name: task.token + task.template for name, task in model.tasks.items()}
    assert state.since == model.since
    assert state.lanes == {name: waiting for name, waiting in model.lanes.items() if waiting}
    assert sorted(state.delayed) == sorted(
        (model.tasks[name].lane.name, name, model.tasks[name].due_us) for name in model.delayed
    )
    assert state.expired == model.expired
    assert state.run_times == model.run_times
    assert model.expires_us.items() <= {(name, time) for _, name, time in state.overdue}
    assert {name: (lease.fence, lease.claimant, lease.lane) for name, lease in state.leases.items()} == {
        name: (flight.fence, flight.claimant or "", flight.task.lane.name) for name, flight in model.flights.items()
    }
    assert state.deadlines == {name: flight.deadline_us for name, flight in model.flights.items()}
    assert state.queues == {name: queue for name, queue in model.queues.items() if queue}
    assert state.releasing == model.releasing
    assert state.unclaimed == model.unclaimed()
    assert state.redelivered == model.redelivered
    assert state.keyed == [(str(key), since, name) for key, since, name in model.keyed()]
    _compare_backlogs(model, state)
    _compare_limits(model, state)
    _check_places(state)
    _check_wakes(model, state)


def size_of(task: WaitingTask) -> int:
    """What its message takes: 8 bytes say since when it waits."""
    return len(task.token) + 8 + len(task.template)


def key_of(task: WaitingTask) -> CoalesceKey | None:
    """The key that its envelope begins with."""
    found = re.match(rb'\{"coalesce":"([=~])(\w+)",', task.template)
    return CoalesceKey(found[2].decode(), always=found[1] == b"=") if found else None


def _compare_backlogs(model: Model, state: State) -> None:
    """What waits is counted in each scope that has a cap; the count of a new cap grows until it is whole."""
    expected: dict[str, tuple[int, int]] = {}
    for name, task in model.tasks.items():
        if name not in model.flights:
            for scope, _ in model.accounts.caps_of(task.lane):
                tasks, size = expected.get(scope, (0, 0))
                expected[scope] = tasks + 1, size + size_of(task)
    if state.filling:
        assert all(count <= expected.get(scope, (0, 0)) for scope, count in state.backlog.items())
    else:
        assert state.backlog == expected


def _compare_limits(model: Model, state: State) -> None:
    for name, account in model.accounts.of.items():
        stored = state.limits.get(name)
        if account.limit.kind is LimitKind.WINDOW:
            window = Window.unpack(stored)
            assert window.held == account.held(), f"{name}: {window.held} held, not {account.held()}"
            assert window.used == sum(units for _, units in window.pairs), f"{name}: {window}"
        elif account.limit.kind is LimitKind.IN_FLIGHT:
            flying = {each.task for each in account.spent}
            assert set(stored or ()) == flying, f"{name}: slots of {set(stored or ())}, in flight are {flying}"


def _check_places(state: State) -> None:
    """Each lane that has work stands in one place, and no other lane stands anywhere."""
    places = [*state.ready, *(lane for lanes in state.gates.values() for lane in lanes)]
    assert sorted(places) == sorted(state.lanes), f"ready {state.ready}, gates {state.gates}"


def _check_wakes(model: Model, state: State) -> None:
    """Each limit where somebody waits is tried when it opens, and somebody is awake then."""
    assert state.wakes.keys() == state.gates.keys(), f"gates {list(state.gates)}, wake-ups {list(state.wakes)}"
    due_us, now_us = state.due_us(), model.now_us
    someone_comes = state.bell or due_us == math.inf or model.asleep_us <= max(due_us, model.clock.latest_us)
    assert someone_comes, f"nobody is woken for {due_us - now_us:+}: all sleep until {model.asleep_us - now_us:+}"
    if model.governing != state.version:
        return
    for name, wake_us in state.wakes.items():
        opens_us = opens_at_us(model, state, name)
        in_time = wake_us <= max(opens_us + model.clock.skew_us, model.clock.latest_us)
        if not in_time and not _is_covered(model, state, name) and not _is_held(model, state, name):
            message = f"{name} opens at {opens_us - now_us:+}, and is tried at {wake_us - now_us:+} only"
            raise AssertionError(message)


def check_next(model: Model, state: State, next_in_s: float | None) -> None:
    """A dispatch says when the next thing is due."""
    if state.filling:
        assert next_in_s == 0, "what waits is not counted to its end"
        return
    next_us = math.inf if next_in_s is None else round(next_in_s * SECOND_US)
    due_us = min(state.due_us(), min(state.deadlines.values(), default=math.inf))
    assert next_us == max(0, due_us - model.now_us), f"next in {next_us}, due in {due_us - model.now_us}"


def check_demand(model: Model, demand: Demand) -> None:
    """Nobody who waits is forgotten, and whoever is released and not claimed lies ready."""
    assert demand.waiting == sum(map(len, model.lanes.values()))
    assert demand.ready >= sum(model.unclaimed().values())
    assert all(limit.until_then >= 0 and (limit.slots is None or limit.slots >= 0) for limit in demand.limits)
    answer = desired_workers(demand)
    assert 0 <= answer.releasable <= demand.waiting
    assert 0 <= answer.desired <= demand.ready + demand.waiting


def check_nothing_is_left(model: Model) -> None:
    """A dispatcher has done all that it can do now: what still waits is refused by a limit."""
    state = model.state
    assert not state.ready
    for name, lanes in state.gates.items():
        closed = opens_at_us(model, state, name) > model.now_us or state.wakes[name] <= model.clock.latest_us
        assert closed or _is_covered(model, state, name) or _is_held(model, state, name), f"{name} is open, and {lanes} wait"


def check_empty(model: Model) -> None:
    """All work is done and all time has passed: nothing is left but what has no end."""
    assert not model.tasks
    state = model.state
    left = {name: stored for name, stored in state.keys.items() if name.partition(":")[0] not in FOR_A_WHILE}
    assert left.keys() <= FOR_EVER, f"left behind: {left}"
    for name, stored in state.limits.items():
        assert _is_spent(model, name, stored), f"{name} is not spent: {stored}"


def _is_spent(model: Model, name: str, stored: Any) -> bool:
    limit = model.accounts.of[name].limit
    if limit.kind is LimitKind.IN_FLIGHT:
        return not stored
    if limit.kind is LimitKind.BUCKET:
        return bucket_is_full_us(stored) <= model.now_us
    window = Window.unpack(stored)
    return window.held == 0 and all(time + limit.period_us <= model.now_us for time, _ in window.pairs)


def opens_at_us(model: Model, state: State, gate: str) -> float:
    """When the gate certainly admits the first that waits at it, if nothing else happens."""
    scope, _, unit = gate.rpartition("|")
    first = first_at(model, state, gate)
    if scope.startswith("queue:"):
        queue = scope.removeprefix("queue:")
        return model.now_us if model.refill_of(queue) <= model.room_of(queue) - model.unclaimed().get(queue, 0) else math.inf
    # A lane may stand at the gate of a limit that was taken away, or with a new head that the limit does not concern.
    if scope not in first.lane.scopes.names or not cost_of(first, Unit(unit)):
        return model.now_us
    accounts = model.accounts
    return max(
        model.regulators.opens_us(scope, unit),
        *(
            accounts.account(scope, limit).allows_us(met := limit.open_to(first.lane.priority), units_of(first, met))
            for limit in accounts.rules(scope)
            if limit.unit == unit
        ),
        model.now_us,
    )


def _is_covered(model: Model, state: State, gate: str) -> bool:
    """Whether somebody who goes before all here waits at a gate that all work of this one must pass too, and that is closed
    or tried at once.

    Whoever goes on from there tries its narrower gates, of which this is one, in the same call.
    """
    scope, _, unit = gate.rpartition("|")
    first = first_at(model, state, gate)
    for other, lanes in state.gates.items():
        wide, _, other_unit = other.rpartition("|")
        if (
            other != gate
            and _contains(wide, scope)
            and other_unit in (Unit.REQUESTS, unit)
            and (opens_at_us(model, state, other) > model.now_us or state.wakes[other] <= model.clock.latest_us)
            and any(_passes(model, state, name, scope) and precedes(model, _head(model, state, name), first) for name in lanes)
        ):
            return True
    return False


def _head(model: Model, state: State, lane: str) -> WaitingTask:
    return model.tasks[state.lanes[lane][0]]


def _passes(model: Model, state: State, lane: str, scope: str) -> bool:
    scopes = _head(model, state, lane).lane
    return scope == f"queue:{scopes.queue}" or (not scopes.unlimited and scope in scopes.scopes.names)


def _contains(wide: str, scope: str) -> bool:
    if wide == "global":
        return not scope.startswith("queue:")
    service = scope.removeprefix("endpoint:").partition("/")[0] if scope.startswith("endpoint:") else None
    return wide in (scope, f"service:{service}")


def _is_held(model: Model, state: State, gate: str) -> bool:
    """Whether the first lane keeps the gate shut, for a while, until another one opens that it needs too."""
    return state.gates[gate][0] in state.holding and state.wakes[gate] <= model.clock.latest_us + LONGEST_HOLD_US
