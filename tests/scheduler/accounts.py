"""The limits of the model: who spent what and when, and whether that was more than a limit allows.

Written from what the limits promise, not from how the scripts count: an account keeps each unit with the times of its
release and its start, and looks through all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from turgor.limits.backlog_table import BacklogTable
from turgor.limits.config import LimitsConfig
from turgor.limits.limit import Limit, LimitKind, Unit
from turgor.limits.scope import template_of
from turgor.scheduler.lane import Lane
from turgor.scheduler.waiting_task import WaitingTask

# A window counts in cells of 1/100 of its period, and dates a start 1/100 late.
WINDOW_SLACK = 1.02
# Work that ends so soon after its start, in parts of the period, may be dated at its end.
SOON = 1 / 20


@dataclass
class Clock:
    """The time that is passed to the scripts, and what a judge makes of it.

    Parameters
    ----------
    now_us, latest_us:
        The time, and the latest that it has ever been.
    elapsed_us:
        A clock that is put back makes no time undone: only its steps forward are counted.
    skew_us:
        How far it has ever been put back: so much later a wake-up may come.
    """

    now_us: int
    latest_us: int = 0
    elapsed_us: int = 0
    skew_us: int = 0

    def set(self, now_us: int) -> None:
        self.elapsed_us += max(0, now_us - self.now_us)
        self.now_us, self.latest_us = now_us, max(now_us, self.latest_us)
        self.skew_us = max(self.skew_us, self.latest_us - now_us)


@dataclass(eq=False)
class Spent:
    """Units that one release took from one limit. Times are those of the judge, except `gone_us`."""

    account: Account
    limit: Limit
    task: str
    units: int
    released_us: int
    started_us: int | None = None
    began_us: int = 0  # the start, on the clock that was passed
    gone_us: float = math.inf  # by when a window has certainly forgotten the start
    kept: int | None = None  # of the units, if the others were taken back; a window may count them for longer

    @property
    def counts(self) -> int:
        return self.units if self.kept is None else self.kept


@dataclass(eq=False)
class Account:
    """One limit's history, over all versions of the limits.

    Parameters
    ----------
    name:
        `scope:id`, as the scripts call the limit's state.
    limit:
        The rule in force, or the last one that was.
    since:
        Where in `spent` the rule in force began.
    arrival_us:
        A bucket's theoretical arrival time, at the latest.
    slower:
        The most that a change has ever slowed the bucket down: time that is put back is owed at the new rate.
    """

    name: str
    limit: Limit
    clock: Clock
    in_force: bool = True
    spent: list[Spent] = field(default_factory=list["Spent"])
    since: int = 0
    arrival_us: float = 0
    last_start_us: int = 0
    slower: float = 0

    def change(self, rule: Limit | None) -> None:
        """The limits were changed. A bucket keeps the units that it owes; they come back at the new rate from its next use on."""
        if not self.in_force or rule != self.limit:
            self.since = len(self.spent)
        self.in_force = rule is not None
        if rule is not None and rule.kind is LimitKind.BUCKET:
            now_us, slower = self.clock.now_us, interval_of(rule) / interval_of(self.limit)
            self.arrival_us = max(self.arrival_us, now_us + max(0, self.arrival_us - now_us) * slower + 1)
            self.slower = max(self.slower, slower)
        self.limit = rule or self.limit

    def release(self, task: str, limit: Limit, units: int) -> Spent:
        spent = Spent(self, limit, task, units, self.clock.elapsed_us)
        self.spent.append(spent)
        self.arrival_us = max(self.arrival_us, self.clock.now_us) + math.ceil(units * interval_of(limit))
        self._check_release(limit)
        return spent

    def check_reserve(self, spent: Spent, priority: int) -> None:
        """The release of this priority leaves what is reserved; one that costs more takes all that it may."""
        met = spent.limit.open_to(priority)
        units, spent.units = spent.units, min(spent.units, met.capacity)
        self._check_release(met)
        spent.units = units

    def start(self, spent: Spent) -> None:
        self.last_start_us = max(self.last_start_us, self.clock.now_us)
        spent.started_us, spent.began_us = self.clock.elapsed_us, self.clock.now_us
        spent.gone_us = self.last_start_us + spent.limit.period_us * WINDOW_SLACK
        if spent.limit.kind is LimitKind.WINDOW:
            self._check_starts(spent.limit)

    def restart(self, spent: Spent) -> None:
        """The worker asks again whether it may start: it starts now, unless its start has left the window."""
        if spent.limit.kind is LimitKind.WINDOW and 0 <= self.clock.now_us - spent.began_us <= spent.limit.period_us:
            self.start(spent)

    def end(self, spent: Spent) -> None:
        """The work is over: what it spent stays spent, and its slot is free. What was short may be dated at its end."""
        if spent.limit.kind is LimitKind.IN_FLIGHT:
            self._remove(spent)
        elif self.clock.now_us - spent.began_us <= spent.limit.period_us * SOON:
            self.last_start_us = max(self.last_start_us, self.clock.now_us)
            spent.gone_us = self.last_start_us + spent.limit.period_us * WINDOW_SLACK

    def take_back(self, spent: Spent, kept: int) -> None:
        """Work that has started needs no more than `kept` of its tokens."""
        if spent.limit.unit is Unit.TOKENS:
            spent.kept = min(kept, spent.units)

    def give_back(self, spent: Spent) -> None:
        """What was charged and never used does not count any more; what has come back by itself is not given again."""
        self._remove(spent)
        return_us = spent.units * interval_of(spent.limit)
        if spent.released_us + return_us > self.clock.elapsed_us:
            self.arrival_us -= return_us

    def _remove(self, spent: Spent) -> None:
        at = self.spent.index(spent)
        del self.spent[at]
        self.since -= at < self.since

    def held(self) -> int:
        return sum(each.units for each in self.spent if each.started_us is None)

    def _check_release(self, limit: Limit) -> None:
        if limit.kind is LimitKind.WINDOW:
            horizon_us = self.clock.elapsed_us - limit.period_us
            taken = sum(each.counts for each in self.spent if each.started_us is None or each.started_us > horizon_us)
            assert taken <= limit.capacity, f"{self.name}: {taken} released in a window of {limit.capacity}"
        elif limit.kind is LimitKind.BUCKET:
            taken = 0
            for each in reversed(self.spent[self.since :]):
                taken += each.units
                envelope = limit.capacity + (self.clock.elapsed_us - each.released_us) / interval_of(limit)
                assert taken <= envelope + 1e-6, f"{self.name}: {taken} released, and {envelope} would be the most"
        else:
            taken = len(self.spent)
            assert taken <= limit.capacity, f"{self.name}: {taken} in flight of {limit.capacity}"

    def _check_starts(self, limit: Limit) -> None:
        horizon_us = self.clock.elapsed_us - limit.period_us
        recent = [each for each in self.spent if each.started_us is not None and each.started_us > horizon_us]
        started = sum(each.counts for each in recent)
        capacity = recent[-1].limit.capacity  # the limit that admitted the last of them
        assert started <= capacity, f"{self.name}: {started} started in a window of {capacity}"

    def allows_us(self, limit: Limit, units: int) -> float:
        """When the limit certainly admits so many units, if nothing else happens."""
        now_us = self.clock.now_us
        if limit.kind is LimitKind.IN_FLIGHT:
            return math.inf if len(self.spent) >= limit.capacity else now_us
        if limit.kind is LimitKind.BUCKET:
            room_us = (limit.capacity - units) * interval_of(limit)
            put_back_us = self.clock.skew_us * self.slower
            return max(now_us, math.ceil(max(self.arrival_us, now_us) + put_back_us - room_us) + 1)
        counted = sorted((each for each in self.spent if each.gone_us > now_us), key=lambda each: each.gone_us)
        excess = units - limit.capacity + sum(each.units for each in counted)
        opens_us = float(now_us)
        for each in counted:
            if excess <= 0:
                break
            opens_us, excess = each.gone_us, excess - each.units
        return opens_us


class Accounts:
    """All limits of the model's realm."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._definitions: Mapping[str, tuple[Limit, ...]] = {}
        self._backlogs: Mapping[str, BacklogTable] = {}
        self.of: dict[str, Account] = {}

    def publish(self, config: LimitsConfig) -> None:
        self._definitions, self._backlogs = config.definitions(), config.backlogs()
        for name, account in self.of.items():
            scope, _, limit_id = name.rpartition(":")
            account.change(next((limit for limit in self.rules(scope) if limit.id == limit_id), None))

    def rules(self, scope: str) -> tuple[Limit, ...]:
        found = self._definitions.get(scope)
        return self._definitions.get(template_of(scope) or "", ()) if found is None else found

    def cap_of(self, scope: str) -> BacklogTable | None:
        """The cap on what waits of the scope."""
        named = scope in self._definitions or scope in self._backlogs
        return self._backlogs.get(scope if named else template_of(scope) or "")

    def caps_of(self, lane: Lane) -> list[tuple[str, BacklogTable]]:
        """(scope, cap) of each cap that concerns the lane."""
        scopes = () if lane.unlimited else lane.scopes.names
        return [(scope, cap) for scope in scopes if (cap := self.cap_of(scope))]

    def limits_of(self, lane: Lane) -> Iterator[tuple[str, Limit]]:
        """(scope, limit) of each limit that concerns the lane, its queue's apart."""
        scopes = () if lane.unlimited else lane.scopes.names
        return ((scope, limit) for scope in scopes for limit in self.rules(scope))

    def account(self, scope: str, limit: Limit) -> Account:
        name = f"{scope}:{limit.id}"
        if name not in self.of:
            self.of[name] = Account(name, limit, self._clock)
        return self.of[name]

    def too_large(self, task: WaitingTask) -> bool:
        """Whether some limit never holds as much as the task costs."""
        return any(
            limit.kind is not LimitKind.IN_FLIGHT and cost_of(task, limit.unit) > limit.capacity_for(task.lane.priority)
            for _, limit in self.limits_of(task.lane)
        )

    def release(self, task: WaitingTask) -> list[Spent]:
        """Charge all limits of the task. Fails if one of them is exceeded."""
        made = [
            self.account(scope, limit).release(task.task, limit, units)
            for scope, limit in self.limits_of(task.lane)
            if (units := units_of(task, limit))
        ]
        for spent in made:
            spent.account.check_reserve(spent, task.lane.priority)
        return made

    def longest_period_us(self) -> int:
        return max((limit.period_us for limits in self._definitions.values() for limit in limits), default=0)


def cost_of(task: WaitingTask, unit: Unit) -> int:
    return task.weight if unit is Unit.REQUESTS else task.tokens


def units_of(task: WaitingTask, limit: Limit) -> int:
    """What a task takes from a limit: all of it, if the limit was lowered below the task's cost while it waited."""
    return min(cost_of(task, limit.unit), limit.capacity)


def interval_of(limit: Limit) -> float:
    """Microseconds in which a bucket gains a unit; 0 for other limits."""
    return limit.period_us / limit.refill if limit.refill else 0
