"""What holds scopes back besides their limits, in the model: pauses, closures and the ramps after them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from turgor.scheduler.lane import Lane
from turgor.scheduler.waiting_task import WaitingTask

from .accounts import Clock

ROUND_US, ROUNDS = 500_000, 10


def ramp_us(number: int) -> int:
    """When the admission of this number (from 1) is due after the opening: each round admits twice as many as the last."""
    doublings = number.bit_length() - 1
    return math.ceil(ROUND_US * (doublings + number / 2**doublings - 1))


def throttled_scope(lane: Lane) -> str:
    """The scope that a refused call of this lane's work closes; `""` for none."""
    scopes = lane.scopes
    if scopes.endpoint:
        return f"endpoint:{scopes.service}/{scopes.endpoint}"
    return f"service:{scopes.service}" if scopes.service else ""


@dataclass
class Closure:
    opens_us: int
    admitted: int = 0

    @property
    def spent_us(self) -> int:
        return self.opens_us + ROUND_US * ROUNDS

    def due_us(self) -> int:
        return self.opens_us + ramp_us(self.admitted + 1)


@dataclass
class Regulators:
    """The regulated scopes of the model's realm."""

    clock: Clock
    paused: set[str] = field(default_factory=set[str])
    closures: dict[str, Closure] = field(default_factory=dict[str, Closure])

    def pause(self, scope: str) -> None:
        self._forget(scope)
        self.paused.add(scope)

    def resume(self, scope: str) -> None:
        self._forget(scope)
        if scope in self.paused:
            self.paused.remove(scope)
        else:
            self.closures.pop(scope, None)

    def close(self, scope: str, opens_us: int) -> None:
        self._forget(scope)
        known = self.closures.get(scope)
        if opens_us > max(self.clock.now_us, known.opens_us if known else 0):
            self.closures[scope] = Closure(opens_us)

    def _forget(self, scope: str) -> None:
        """A record that is written keeps nothing that is over."""
        closure = self.closures.get(scope)
        if closure and closure.spent_us <= self.clock.now_us:
            del self.closures[scope]

    def release(self, task: WaitingTask) -> None:
        """Count a release. Fails if a scope of it is held back."""
        for scope in () if task.lane.unlimited else task.lane.scopes.names:
            assert scope not in self.paused, f"{task.task} was released while {scope} is paused"
            closure = self._in_effect(scope)
            if closure:
                early_us = closure.due_us() - self.clock.now_us
                assert early_us <= 0, f"{task.task} was released {early_us} us before {scope} admits it"
                closure.admitted += task.weight

    def _in_effect(self, scope: str) -> Closure | None:
        closure = self.closures.get(scope)
        return closure if closure and self.clock.now_us < closure.spent_us else None

    def hold(self, scope: str) -> bool:
        return scope in self.paused or self._in_effect(scope) is not None

    def opens_us(self, scope: str, unit: str) -> float:
        """When the scope certainly admits a task, if nothing else happens."""
        if unit != "requests":
            return self.clock.now_us
        if scope in self.paused:
            return math.inf
        closure = self._in_effect(scope)
        return max(self.clock.now_us, closure.due_us()) if closure else self.clock.now_us
