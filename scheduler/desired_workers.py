"""How many worker processes the work of a realm has use for, and what binds: too few workers, or a limit.

A process that ran nothing but tasks of W seconds would run H/W of them until the horizon of H seconds, or one, if
they are longer. So a task takes the share u = min(1, W/H) of a process. Until the horizon a limit admits

    now + rate x H units         or, if it caps what is in flight,
    free + taken x min(1, H/W)   tasks at a time;

a lane of `waiting` tasks gets no more of them than it has, and lanes that share a limit share what it gives, the next to
move first, as the dispatcher would have it. With x tasks admitted of each lane, and `ready` ones that are admitted already,

    desired = max(running, running x (1 - min(1, H/W)) + ready x u + sum of x x u)

rounded up. For short tasks behind one limit that is rate x W: J. D. C. Little, "A Proof for the Queuing Formula L = λW",
Operations Research 9 (1961). Work that is not limited is to be done by the horizon; work that a limit
holds beyond it asks for nobody, however much of it waits. For long tasks the processes that will be free by then are
taken off, so a limit that is in balance with what it has running asks for no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .demand import ALL_SERVICES, HORIZON_S, Demand, LaneDemand

# For how long tasks run before anything is known of them. What runs already corrects it upwards.
FIRST_GUESS_S = 1.0
_SECOND_US = 1_000_000
_ROUNDING = 1e-6


class Binding(StrEnum):
    """What keeps work from being done sooner."""

    IDLE = "idle"
    SERVED = "served"
    WORKERS = "worker-bound"
    LIMIT = "limit-bound"


@dataclass(frozen=True, slots=True)
class DesiredWorkers:
    """An answer.

    Parameters
    ----------
    desired, processes:
        Tasks that should be able to run at a time, and that can.
    binding:
        WORKERS: more of them would help. LIMIT: they would not, because of `limit`. SERVED: what is here can be done by the
        horizon. IDLE: there is nothing.
    limit:
        The limit that holds the most, such as `service:llm_api requests/1m`.
    ready, running, waiting:
        Tasks: released or unlimited ones that do not run yet, those that run, those that wait in Turgor.
    releasable:
        How many of those that wait the limits will admit until the horizon.
    """

    desired: int
    processes: int
    binding: Binding
    limit: str = ""
    ready: int = 0
    running: int = 0
    waiting: int = 0
    releasable: float = 0.0

    @property
    def reason(self) -> str:
        return f"{self.binding}: {self.limit}" if self.limit else str(self.binding)

    def __str__(self) -> str:
        return f"{self.desired} desired, {self.processes} there ({self.reason})"

    def workers(self, per_worker: int) -> int:
        """The same in workers that run so many tasks at a time."""
        return math.ceil(self.desired / per_worker)

    def to_dict(self, per_worker: int = 1) -> dict[str, Any]:
        """As JSON has it, counted in workers that run so many tasks at a time."""
        return {
            "desired_workers": self.workers(per_worker),
            "reason": self.reason,
            "workers": self.processes // per_worker,
            "running": self.running,
            "ready": self.ready,
            "waiting": self.waiting,
            "releasable": round(self.releasable, 1),
        }

    def share_of(self, processes: int, among: int) -> int:
        """The size that one of so many pools should have, which has `processes` now: each makes an equal part of the difference.

        Rounded up, so all together they have at most one for each pool too many, and none too few.
        """
        return processes + math.ceil((self.desired - self.processes) / max(1, among))


class _Rest:
    """What the limits have left while lanes take from it."""

    def __init__(self, demand: Demand, horizon_s: float) -> None:
        self._demand, self._horizon_s = demand, horizon_s
        self._units = [limit.until_then for limit in demand.limits]
        self._slots = [float(limit.slots or 0) for limit in demand.limits]
        self.held = [0.0] * len(demand.limits)

    def take(self, lane: LaneDemand) -> tuple[float, float]:
        """As many of the lane's tasks as all its limits admit, and the processes that they keep busy."""
        share = min(1.0, _run_time_s(self._demand, lane.service) / self._horizon_s)
        tasks, binding = float(lane.waiting), None
        for at in lane.limits:
            admitted = self._admits(at, lane, share)
            if admitted < tasks:
                tasks, binding = admitted, at
        for at in lane.limits:
            self._units[at] -= tasks * self._cost(at, lane)
            self._slots[at] -= tasks * share
        if binding is not None:
            self.held[binding] += lane.waiting - tasks
        return tasks, tasks * share

    def _cost(self, at: int, lane: LaneDemand) -> int:
        limit = self._demand.limits[at]
        return 0 if limit.slots is not None else lane.tokens if limit.unit == "tokens" else lane.requests

    def _admits(self, at: int, lane: LaneDemand, share: float) -> float:
        limit = self._demand.limits[at]
        if limit.slots is not None:
            come_free = limit.taken * min(1.0, self._horizon_s / _run_time_s(self._demand, lane.service))
            return max(0.0, self._slots[at] + come_free) / share
        cost = self._cost(at, lane)
        return max(0.0, self._units[at]) / cost if cost else math.inf


def desired_workers(demand: Demand, *, horizon_s: float = HORIZON_S) -> DesiredWorkers:
    """How many processes the demand has use for. `horizon_s` is the one that the demand was asked for."""
    rest = _Rest(demand, horizon_s)
    releasable = busy = 0.0
    for lane in demand.lanes:
        tasks, processes = rest.take(lane)
        releasable, busy = releasable + tasks, busy + processes
    run_time_s, running = _run_time_s(demand, ALL_SERVICES), demand.running
    stay = running * (1 - min(1.0, horizon_s / run_time_s))
    needed = max(running, stay + demand.ready * min(1.0, run_time_s / horizon_s) + busy)
    desired = math.ceil(needed - _ROUNDING)
    binding, limit = _binding(demand, desired, rest.held)
    return DesiredWorkers(desired, demand.processes, binding, limit, demand.ready, running, demand.waiting, releasable)


def _binding(demand: Demand, desired: int, held: list[float]) -> tuple[Binding, str]:
    if desired > demand.processes:
        return Binding.WORKERS, ""
    if any(tasks > _ROUNDING for tasks in held):
        return Binding.LIMIT, demand.limits[held.index(max(held))].name
    return (Binding.SERVED if desired else Binding.IDLE), ""


def _run_time_s(demand: Demand, service: str) -> float:
    known_us = demand.run_times_us.get(service)
    if known_us is not None:
        return max(known_us, 1) / _SECOND_US
    busy = sum(member.busy for member in demand.crew.values())
    age_us = sum(member.busy * member.age_us for member in demand.crew.values()) / max(1, busy)
    return max(FIRST_GUESS_S, age_us / _SECOND_US)
