"""A plain Python model of the scheduler: what the scripts promise, said without their data structures.

The model does not predict which lane is next, because fair queueing is free to choose. It looks at what each
call did, works out by itself what that means, and fails where a promise is broken:

    limits      no window, bucket or cap is ever exceeded, judged by the times of releases and starts
    tasks       each accepted and unfinished task is in one place, and each lane that has work too
    order       a lane is served first in, first out; what comes back goes to its head
    priority    among lanes of the same scopes and queue the higher one goes first, or who has waited for long enough
    progress    nothing waits that its limits would admit, and somebody will be woken for the rest
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from turgor.limits.backlog_table import Overflow
from turgor.limits.config import LimitsConfig
from turgor.limits.limit import Unit
from turgor.limits.outcome import Outcome
from turgor.scheduler.coalesce_key import CoalesceKey
from turgor.scheduler.lane import Lane
from turgor.scheduler.outbox import Release, Taken
from turgor.scheduler.scheduler import SECOND_US, Cancelled, Dispatched, Settled
from turgor.scheduler.waiting_task import Submitted, WaitingTask

from .accounts import Accounts, Clock, Spent
from .checks import check_next, compare, key_of, size_of
from .realm import Message, State
from .regulators import Regulators, throttled_scope

DEFAULT_AHEAD = 100
MOST_REFILLED = 4
DONE_FOR_US = 60 * SECOND_US
# How the outbox of a broker elsewhere is called, and the list of the test that stands for that broker's queue.
OUTBOX = "{turgor:test}:outbox:"
ELSEWHERE = "elsewhere:"
# What may lie in such a queue is asked for so often in the time of a claim, for so many of these times.
ASKED_IN_A_CLAIM = 4
PATIENCE = 20


@dataclass
class Flight:
    """A released task, until it ends, comes back or lapses."""

    task: WaitingTask
    fence: str
    deadline_us: int
    spent: list[Spent]
    released_us: int
    claimant: str | None = None
    started_us: int = 0
    settled: int | None = None


class Model:
    """What must be true of a realm.

    Parameters
    ----------
    claim_within_us, lease_us:
        As the scheduler was told.
    now_us:
        The time at the beginning.
    """

    def __init__(self, claim_within_us: int, lease_us: int, now_us: int) -> None:
        self._claim_within_us, self._lease_us = claim_within_us, lease_us
        self.clock = Clock(now_us)
        self.run_times: dict[str, str] = {}
        self.accounts = Accounts(self.clock)
        self.regulators = Regulators(self.clock)
        self.ageing_us = 0  # in which waiting work gains a priority level; 0 for never
        self.tasks: dict[str, WaitingTask] = {}
        self.since: dict[str, int] = {}
        self.kept: set[str] = set()  # what was released once, or continues other work: it is never dropped
        self.unknown: set[str] = set()  # of these, what a cap that is newer cannot know of
        self.lanes: dict[str, list[str]] = {}
        self.delayed: list[str] = []
        self.expires_us: dict[str, int] = {}
        self.flights: dict[str, Flight] = {}
        self.queues: dict[str, list[bytes]] = {}
        self.releasing: dict[tuple[str, str], float] = {}  # by fence and task
        self.emptied_us: dict[str, int] = {}
        self.gone: dict[bytes, int] = {}
        self.expired: set[str] = set()
        self.workers: dict[str, dict[str, tuple[int, int]]] = {}
        self.ahead: dict[str, int] = {}
        self.refill: dict[str, int] = {}
        self.fence = 0
        self.governing = ""  # the version of the limits that a dispatch has applied to what waits
        self.asleep_us = math.inf  # until when the dispatchers sleep, unless the bell is rung
        self.state = State({})
        self.redelivered: dict[str, int] = {}

    @property
    def now_us(self) -> int:
        return self.clock.now_us

    # What each call must have done

    def is_known(self, task: WaitingTask) -> bool | None:
        """Whether a submit must be refused as a repetition; None where the promise leaves it open."""
        if task.task in self.tasks:
            return True
        gone_us = self.gone.get(task.token)
        if gone_us is None:
            return False
        age_us = self.now_us - gone_us
        if age_us >= 2 * DONE_FOR_US:
            return False
        return True if 0 <= age_us < DONE_FOR_US else None

    def submitted(self, task: WaitingTask, status: Submitted, state: State) -> None:
        known = self.is_known(task)
        if status is Submitted.KNOWN:
            assert known is not False, f"{task.task} is new, and was taken for known"
            self._settle(state)
            return
        assert known is not True, f"{task.task} was accepted twice"
        key = None if task.continues else key_of(task)
        assert not (key and key.always and self.stands_for(task)), f"{task.task} was accepted, and its key waits"
        if status not in (Submitted.RELEASED, Submitted.EXPIRED) and not task.continues and state.expired == self.expired:
            assert not self.without_room(task), f"{task.task} was accepted, and there was no room"
        self.tasks[task.task] = task
        self.kept.discard(task.task)
        self.unknown.discard(task.task)
        if task.continues:
            self.kept.add(task.task)
        self.since[task.task] = max(self.now_us, task.due_us or 0)
        self._shed(task, state)
        expires_us = self._expires_us(task)
        if expires_us <= self.now_us:
            assert status is Submitted.EXPIRED
            self.gone[task.token] = self.now_us
            self.expired.add(task.task)
            del self.tasks[task.task], self.since[task.task]
            self._settle(state)
            return
        if expires_us < math.inf:
            self.expires_us[task.task] = int(expires_us)
        if task.due_us is not None and task.due_us > self.now_us:
            assert status is Submitted.DELAYED
            self.delayed.append(task.task)
        else:
            self.lanes.setdefault(task.lane.name, []).append(task.task)
        self._settle(state)
        if status is not Submitted.DELAYED:
            assert (status is Submitted.RELEASED) == (task.task in self.flights)

    def _shed(self, task: WaitingTask, state: State) -> None:
        """What was dropped for the task ranks below it and below all that it could have been instead."""
        shed = state.expired - self.expired - {task.task}
        for name in shed:
            assert self.without_room(task), f"{name} was dropped for {task.task}, and there was room"
            assert name not in self.kept - self.unknown, f"{name} had been released, or continues other work"
            assert self.tasks[name].lane.priority <= task.lane.priority
        full = {scope for scope, cap in self.accounts.caps_of(task.lane) if cap.overflow is Overflow.SHED} & {
            *self.without_room(task)
        }
        for scope in full if len(shed - self.unknown) == 1 and len(full) == 1 else ():
            rivals = [
                name
                for name, other in self.tasks.items()
                if name != task.task and name not in self.flights and name not in self.kept
                and scope in (each for each, _ in self.accounts.caps_of(other.lane))
            ]  # fmt: skip
            least = min(map(self._worth, rivals))
            assert state.filling or all(self._worth(name) == least for name in shed - self.unknown), f"{shed} was dropped"
        for name in shed:
            self._leave(name)
            self.expired.add(name)

    def _worth(self, name: str) -> tuple[int, int]:
        return self.tasks[name].lane.priority, self.since[name] // 16

    def _expires_us(self, task: WaitingTask) -> float:
        """Until when it may wait."""
        due_us, wait_us = max(self.now_us, task.due_us or 0), round((task.max_wait_s or 0) * SECOND_US) or math.inf
        return min(due_us + wait_us, math.inf if task.deadline_us is None else task.deadline_us)

    def coalesced(self, task: WaitingTask, into: str, state: State) -> None:
        """A submit has stored nothing, because a task with its key waits."""
        assert self.is_known(task) is not True, f"{task.task} is known, and was coalesced"
        assert into == self.stands_for(task), f"{task.task} was coalesced into {into}"
        key = key_of(task)
        assert key is not None
        assert key.always or Overflow.COALESCE in self._overflows(task), f"{task.task} had room, and was coalesced"
        self._settle(state)

    def _overflows(self, task: WaitingTask) -> list[Overflow]:
        """What becomes of the task, by the scopes that have no room for it."""
        caps = dict(self.accounts.caps_of(task.lane))
        return [caps[scope].overflow for scope in self.without_room(task)]

    def stands_for(self, task: WaitingTask) -> str | None:
        """The task that waits with the same key, was never released, and is due first; None if it is due later."""
        due_us = max(self.now_us, task.due_us or 0)
        return next((name for key, since, name in self.keyed() if key == key_of(task) and since <= due_us), None)

    def keyed(self) -> list[tuple[CoalesceKey, int, str]]:
        """Key, time and task of whatever stands for others."""
        waiting = {name: key_of(task) for name, task in self.tasks.items() if name not in self.kept}
        found = [(key, self.since[name], name) for name, key in waiting.items() if key]
        return sorted(found, key=lambda each: (not each[0].always, each[0].digest, each[1], each[2].encode()))

    def refused(self, task: WaitingTask, state: State) -> None:
        """A submit found no room. Somewhere there was none."""
        assert self.is_known(task) is not True, f"{task.task} is known, and was refused"
        assert not task.continues, f"{task.task} goes on with accepted work, and was refused"
        assert self.without_room(task), f"{task.task} was refused, and there was room"
        coalesces = all(overflow is Overflow.COALESCE for overflow in self._overflows(task)) and not state.filling
        assert not (coalesces and self.stands_for(task)), f"{task.task} was refused, and its key waits"
        self._settle(state)

    def without_room(self, task: WaitingTask) -> list[str]:
        """The scopes that have no room for the task. A cap that is being filled may not know it yet."""
        size, full = size_of(task), list[str]()
        for scope, cap in self.accounts.caps_of(task.lane):
            tasks, taken = self.state.backlog.get(scope, (0, 0))
            if tasks >= (cap.limit or math.inf) or taken + size > (cap.most_bytes or math.inf):
                full.append(scope)
        return full

    def dispatched(self, dispatched: Dispatched, budget: int, state: State) -> None:
        recovered, promoted = dispatched.recovered, dispatched.promoted
        lapsed = sorted(
            (flight for flight in self.flights.values() if flight.deadline_us <= self.now_us),
            key=lambda flight: (flight.deadline_us, flight.task.task.encode()),
        )
        for flight in lapsed:
            if wait_us := self._look_again_in_us(flight):
                if state.deadlines.get(flight.task.task) != flight.deadline_us:
                    flight.deadline_us = self.now_us + wait_us
            elif recovered:
                recovered -= 1
                self._take_back(flight)
        assert recovered == 0, f"{recovered} leases were recovered that had not lapsed"
        due = [name for _, name, due_us in self.state.delayed if due_us <= self.now_us]
        assert promoted <= len(due), f"{promoted - len(due)} tasks were promoted before their time"
        for name in due[:promoted]:
            self.delayed.remove(name)
            self.lanes.setdefault(self.tasks[name].lane.name, []).append(name)
        overdue = sum(time <= self.now_us for _, _, time in self.state.overdue)
        self._expire(state)
        if budget > len(lapsed) + len(due) + overdue:
            assert promoted == len(due), "due tasks are left behind"
            assert all(flight.deadline_us > self.now_us for flight in self.flights.values()), "lapsed leases are left behind"
            assert all(time > self.now_us for _, _, time in state.overdue), "overdue tasks are left behind"
        assert dispatched.expired == len(self.expired)
        self.asleep_us = math.inf if dispatched.next_in_s is None else self.now_us + round(dispatched.next_in_s * SECOND_US)
        self.governing = state.version
        self._settle(state, released=dispatched.released)
        check_next(self, state, dispatched.next_in_s)

    def _look_again_in_us(self, flight: Flight) -> int | None:
        """How long a release is left alone that has lapsed; None if it is lost."""
        queue, claim_us = flight.task.lane.queue, self._claim_within_us
        if flight.claimant is not None:
            return None
        if not queue.startswith(OUTBOX):
            return claim_us if self._envelope(flight) in self.queues.get(queue, ()) else None
        if (flight.fence, flight.task.task) in self.releasing:
            return claim_us
        published_us = flight.deadline_us - claim_us
        is_lost = self.emptied_us.get(queue, 0) > published_us or self.now_us - flight.released_us > PATIENCE * claim_us
        return None if is_lost else claim_us // ASKED_IN_A_CLAIM

    def took(self, taken: Taken, most: int, within_us: int, state: State) -> None:
        """A publisher has taken releases."""
        due = sorted((score, entry) for entry, score in self.releasing.items() if score <= self.now_us)[:most]
        valid = [entry for _, entry in due if self._is_to_be_published(*entry)]
        assert sorted((str(each.fence), each.task) for each in taken.releases) == sorted(valid)
        for each in taken.releases:
            assert each.envelope == self._envelope(self.flights[each.task])
        for _, entry in due:
            del self.releasing[entry]
        self.releasing |= dict.fromkeys(valid, self.now_us + within_us)
        next_us = max(0, min(self.releasing.values()) - self.now_us) if self.releasing else None
        assert next_us == (None if taken.next_in_s is None else round(taken.next_in_s * SECOND_US))
        self._settle(state)

    def _is_to_be_published(self, fence: str, task: str) -> bool:
        flight = self.flights.get(task)
        return flight is not None and flight.fence == fence and flight.claimant is None

    def published(self, releases: Iterable[Release]) -> None:
        """The broker elsewhere has these; nobody has confirmed them yet."""
        for each in releases:
            self.queues.setdefault(ELSEWHERE + each.queue, []).insert(0, each.envelope)

    def confirmed(self, releases: Iterable[Release], state: State) -> None:
        for each in releases:
            self.releasing.pop((str(each.fence), each.task), None)
            if self._is_to_be_published(str(each.fence), each.task):
                self.flights[each.task].deadline_us = self.now_us + self._claim_within_us
        self._settle(state)

    def given_back(self, releases: Iterable[Release], state: State) -> None:
        for each in releases:
            if (str(each.fence), each.task) in self.releasing:
                self.releasing[str(each.fence), each.task] = each.fence
        self._settle(state)

    def _expire(self, state: State) -> None:
        """What has waited too long leaves its place; what was released in time is left alone."""
        over = {(name, time) for _, name, time in self.state.overdue} - {(name, time) for _, name, time in state.overdue}
        for name, _ in sorted(over & self.expires_us.items()):
            assert self.expires_us.pop(name) <= self.now_us, f"{name} expired before its time"
            if name not in self.flights:
                self._leave(name)
                self.expired.add(name)

    def _leave(self, name: str) -> None:
        """A task that waits is gone."""
        task = self.tasks.pop(name)
        del self.since[name]
        self.gone[task.token] = self.now_us
        self.expires_us.pop(name, None)
        self.redelivered.pop(name, None)
        if name in self.delayed:
            self.delayed.remove(name)
        else:
            self.lanes[task.lane.name].remove(name)

    def settled(self, name: str, state: State) -> None:
        self.expired.remove(name)
        self._settle(state)

    def claimed(self, message: Message, claimant: str, granted: bool, state: State) -> None:
        flight = self.flights.get(message.task)
        if flight is None or flight.fence != message.fence or flight.claimant not in (None, claimant):
            assert not granted, f"{message} was claimed by a second one"
        elif flight.claimant == claimant:
            assert granted, f"{message} was refused to its own claimant"
            flight.started_us = max(flight.started_us, self.now_us)
            for spent in flight.spent:
                spent.account.restart(spent)
        elif granted:
            self._start(flight, claimant)
        else:
            assert flight.deadline_us <= self.now_us, f"{message} was refused, and its lease has not lapsed"
        self._settle(state)

    def _start(self, flight: Flight, claimant: str) -> None:
        flight.claimant, flight.started_us = claimant, self.now_us
        flight.deadline_us = self.now_us + self._lease_us
        for spent in flight.spent:
            spent.account.start(spent)

    def settled_tokens(self, message: Message, tokens: int, verdict: Settled, state: State) -> None:
        """`tokens` is at most what the task has reserved: what is above would overdraw its limits."""
        flight = self.flights.get(message.task)
        if flight is None or flight.fence != message.fence or flight.claimant is None:
            assert verdict is Settled.STALE, f"{message} settled: {verdict}"
        else:
            assert verdict is not Settled.STALE, f"{message} could not settle"
            assert (verdict is Settled.SETTLED) or not any(each.limit.unit is Unit.TOKENS for each in flight.spent)
            flight.settled = tokens
            for spent in flight.spent:
                spent.account.take_back(spent, tokens)
        self._settle(state)

    def finished(self, message: Message, outcome: Outcome, accepted: bool, state: State) -> None:
        flight = self.flights.get(message.task)
        valid = flight is not None and flight.fence == message.fence
        assert accepted == valid, f"{message} finished: {accepted}"
        if valid and flight is not None:
            self._close(flight, failed=outcome is Outcome.FAILED)
            self._note_run_time(flight)
            del self.flights[message.task], self.tasks[message.task], self.since[message.task]
            self.redelivered.pop(message.task, None)
            self.expires_us.pop(message.task, None)
            self.gone[flight.task.token] = self.now_us
        self._settle(state)

    def _note_run_time(self, flight: Flight) -> None:
        """Long runs are noted, and each sixteenth of the others for as many."""
        ran_us = max(0, self.now_us - flight.started_us)
        weight = 1 if ran_us >= SECOND_US else 16 if int(flight.fence) % 16 == 0 else 0
        if flight.claimant is not None and weight:
            for service in {flight.task.lane.name.split("\x1f")[2], "*"}:
                mean, runs = map(int, self.run_times.get(service, "0 0").split())
                runs = min(256, runs + weight)
                self.run_times[service] = f"{mean + (ran_us - mean) * weight / runs:.0f} {runs}"

    def returned(self, message: Message, accepted: bool, state: State) -> None:
        flight = self.flights.get(message.task)
        valid = flight is not None and flight.fence == message.fence
        assert accepted == valid, f"{message} put back: {accepted}"
        if valid and flight is not None:
            self._take_back(flight)
        self._settle(state)

    def throttled(self, message: Message, closed_us: int, accepted: bool, state: State) -> None:
        flight = self.flights.get(message.task)
        valid = flight is not None and flight.fence == message.fence
        assert accepted == valid, f"{message} throttled: {accepted}"
        if valid and flight is not None:
            self.regulators.close(throttled_scope(flight.task.lane), self.now_us + closed_us)
            self._return(flight)
            self.redelivered.setdefault(message.task, 0)
        self._settle(state)

    def renewed(self, messages: list[Message], count: int, state: State) -> None:
        least = most = 0
        for message in messages:
            flight = self.flights.get(message.task)
            if flight is None or flight.fence != message.fence:
                continue
            most += 1
            least += flight.deadline_us > self.now_us
            if state.deadlines.get(message.task) != flight.deadline_us:
                flight.deadline_us = self.now_us + self._lease_us
        assert least <= count <= most, f"{count} renewed, of {least} alive and {most} in all"
        self._settle(state)

    def attended(self, worker: str, slots: Mapping[str, int], silence_us: int, state: State) -> None:
        for queue, share in slots.items():
            crew = self.workers.setdefault(queue, {})
            crew.pop(worker, None)
            if share:
                crew[worker] = (self.now_us + silence_us, share)
            for name, (until_us, _) in list(crew.items()):
                if until_us + self._claim_within_us <= self.now_us:
                    del crew[name]
            living = [count for until_us, count in crew.values() if until_us > self.now_us]
            if living:
                self.ahead[queue] = sum(living)
                missed = len(crew) > len(living)
                self.refill[queue] = 1 if missed else max(1, min(MOST_REFILLED, min(living) // 2))
        self._settle(state)

    def cancelled(self, task: WaitingTask, verdict: Cancelled, state: State) -> None:
        if task.task not in self.tasks:
            assert verdict is Cancelled.UNKNOWN
        elif task.task in self.flights:
            assert verdict is Cancelled.RELEASED
        else:
            assert verdict is Cancelled.CANCELLED
            self._leave(task.task)
        self._settle(state)

    def published_limits(self, config: LimitsConfig, state: State) -> None:
        """A cap that begins to count what waits knows what was released, and not what continues other work."""
        self.accounts.publish(config)
        self.ageing_us = config.global_.ageing_us or 0
        if state.filling:
            self.unknown |= self.kept - self.redelivered.keys() - self.flights.keys()
        self._settle(state)

    def nothing_happened(self, state: State) -> None:
        self._settle(state)

    # Releases

    def _settle(self, state: State, released: int | None = None) -> None:
        """Take in the releases that a call made, then compare all that is stored."""
        made = self._new_flights(state)
        assert released is None or released == len(made), f"{released} were reported, {len(made)} released"
        for fence, task in made:
            self._check_priority(self.tasks[task])
            self._release(fence, self.tasks[task])
        compare(self, state)
        self.state = state

    def _new_flights(self, state: State) -> list[tuple[str, str]]:
        made: list[tuple[int, str]] = []
        for task, lease in state.leases.items():
            known = self.flights.get(task)
            if known is None or known.fence != lease.fence:
                made.append((int(lease.fence), task))
        return [(str(fence), task) for fence, task in sorted(made)]

    def _release(self, fence: str, task: WaitingTask) -> None:
        assert int(fence) > self.fence, f"fence {fence} is not new"
        self.fence = int(fence)
        waiting = self.lanes.get(task.lane.name, [])
        assert waiting[:1] == [task.task], f"{task.task} was released, and {waiting[:1]} is first in its lane"
        del waiting[0]
        self.regulators.release(task)
        self.kept.add(task.task)
        self.unknown.discard(task.task)
        flight = Flight(task, fence, self.now_us + self._claim_within_us, self.accounts.release(task), self.now_us)
        self.flights[task.task] = flight
        unclaimed = self.unclaimed().get(task.lane.queue, 0)
        assert unclaimed <= self.room_of(task.lane.queue), f"{unclaimed} lie in {task.lane.queue}"
        if task.lane.queue.startswith(OUTBOX):
            self.releasing[fence, task.task] = int(fence)
        else:
            self.queues.setdefault(task.lane.queue, []).insert(0, self._envelope(flight))

    def _envelope(self, flight: Flight) -> bytes:
        fence = flight.fence.encode()
        return flight.task.template.replace(b"\0", fence, 1).replace(b"\0", b"{turgor:test}:" + fence, 1)

    def _return(self, flight: Flight) -> None:
        self._close(flight, failed=True)
        name = flight.task.task
        del self.flights[name]
        self.lanes.setdefault(flight.task.lane.name, []).insert(0, name)

    def _take_back(self, flight: Flight) -> None:
        self._return(flight)
        name = flight.task.task
        self.redelivered[name] = self.redelivered.get(name, 0) + 1

    def _close(self, flight: Flight, *, failed: bool) -> None:
        for spent in flight.spent:
            if flight.claimant is None:
                spent.account.give_back(spent)
            else:
                spent.account.end(spent)
                if failed and flight.settled is None:
                    spent.account.take_back(spent, 0)

    def room_of(self, queue: str) -> int:
        return self.ahead.get(queue, DEFAULT_AHEAD)

    def refill_of(self, queue: str) -> int:
        """So many places come free before claims fill them."""
        return self.refill.get(queue, 1)

    def unclaimed(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for flight in self.flights.values():
            if flight.claimant is None:
                found[flight.task.lane.queue] = found.get(flight.task.lane.queue, 0) + 1
        return found

    # Priority

    def _check_priority(self, task: WaitingTask) -> None:
        # Lanes at the gate of a limit that was taken away are fetched by the next dispatch.
        if self.governing != self.state.version:
            return
        for name, waiting in self.lanes.items():
            other = Lane.from_name(name)
            if not waiting or other.priority <= task.lane.priority:
                continue
            first = self.tasks[waiting[0]]
            if (
                (other.queue, other.scopes, other.unlimited) == (task.lane.queue, task.lane.scopes, task.lane.unlimited)
                and first.weight <= task.weight
                and first.tokens <= task.tokens
                and not self._has_aged(task, other.priority)
                and not self._is_let_go(name)
            ):
                message = f"{task.task} of priority {task.lane.priority} went before {first.task} of {other.priority}"
                raise AssertionError(message)

    def _is_let_go(self, lane: str) -> bool:
        """Whether the lane stands at a gate that nothing keeps shut any more: the next dispatch fetches it."""
        for gate in (gate for gate, lanes in self.state.gates.items() if lane in lanes):
            scope, _, unit = gate.rpartition("|")
            limits = (limit for limit in self.accounts.rules(scope) if limit.unit == unit)
            return not scope.startswith("queue:") and not any(limits) and not self.regulators.hold(scope)
        return False

    def _has_aged(self, task: WaitingTask, priority: int) -> bool:
        """Whether the task has waited long enough to be served as one of this priority."""
        levels = priority - task.lane.priority
        return bool(self.ageing_us) and self.clock.latest_us - self.since[task.task] >= levels * self.ageing_us
