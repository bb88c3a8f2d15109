"""Who goes first at a gate, in the model: strict priorities, priorities that age, and who may use a reserve."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turgor.scheduler.waiting_task import WaitingTask

    from .model import Model
    from .realm import State


def rank_us(model: Model, task: WaitingTask) -> int:
    """Lower goes first where priorities age: a level is worth as much as the time in which it is gained."""
    return model.since[task.task] - task.lane.priority * model.ageing_us


def precedes(model: Model, one: WaitingTask, other: WaitingTask) -> bool:
    """Whether `other` need not be tried while `one` waits before it."""
    if one.lane.priority >= other.lane.priority:
        return True
    return bool(model.ageing_us) and rank_us(model, one) <= rank_us(model, other)


def first_at(model: Model, state: State, gate: str) -> WaitingTask:
    """The task that a gate is for: the first of the priority that has the lowest rank."""
    lanes = state.gates[gate]
    first = model.tasks[state.lanes[lanes[0]][0]]
    if not model.ageing_us or lanes[0] in state.holding:
        return first
    scope, _, unit = gate.rpartition("|")
    favoured_from = next(
        (limit.reserved_for for limit in model.accounts.rules(scope) if limit.unit == unit and limit.reserved), 10
    )
    leaders: dict[int, WaitingTask] = {}
    for name in lanes:
        task = model.tasks[state.lanes[name][0]]
        leaders.setdefault(task.lane.priority, task)
    return min(leaders.values(), key=lambda task: (task.lane.priority < favoured_from, rank_us(model, task), -task.lane.priority))
