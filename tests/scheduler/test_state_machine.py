"""The scheduler against its model: any order of calls, at any time, and every promise after each of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from redis import Redis
from redis.exceptions import ResponseError

from turgor.limits.config import LimitsConfig
from turgor.limits.errors import ConfigError, CostTooLarge
from turgor.limits.limit import Unit
from turgor.limits.outcome import Outcome
from turgor.limits.scope import TaskScopes
from turgor.scheduler.errors import QueueFull
from turgor.scheduler.lane import Lane
from turgor.scheduler.outbox import Taken
from turgor.scheduler.scheduler import SCRIPTS, SECOND_US
from turgor.scheduler.waiting_task import CoalescedInto, Submitted, WaitingTask

from .checks import check_demand, check_empty, check_nothing_is_left
from .model import ELSEWHERE, OUTBOX, Model
from .mutants import MUTANTS, Mutant
from .realm import Message, Realm
from .regulators import throttled_scope

CLAIM_WITHIN_S, LEASE_S = 5.0, 10.0
QUEUES = ("q", "q2", OUTBOX + "q3")
PUBLISH_WITHIN_S = 20.0
SCOPES = (
    TaskScopes(),
    TaskScopes("api"),
    TaskScopes("api", "chat"),
    TaskScopes("api", "chat", loop="a"),
    TaskScopes("api", "chat", loop="b"),
    TaskScopes("api", "chat", "planner", "a"),
    TaskScopes("api", loop_type="planner"),
    TaskScopes("api", loop_type="planner", loop="b"),
    TaskScopes("git", loop_type="planner"),
    TaskScopes("git", loop="a"),
    TaskScopes(loop_type="planner", loop="c"),
    None,
)


def lanes_of(scopes: TaskScopes | None, priorities: tuple[int, ...], queue: str) -> list[Lane]:
    return [Lane(queue, priority, scopes or TaskScopes(), scopes is None) for priority in priorities]


def is_possible(table: dict[str, Any]) -> bool:
    try:
        LimitsConfig.load({"global": table})
    except ConfigError:
        return False
    return True


counts = st.integers(1, 5)
windows = st.fixed_dictionaries({"limit": counts, "per": st.sampled_from(["1s", "7s", "60s"])}).map(lambda window: [window])
backlogs = st.fixed_dictionaries(
    {"limit": st.integers(1, 6)},
    optional={"bytes": st.sampled_from([100, 300]), "overflow": st.sampled_from(["reject", "shed", "shed", "block", "coalesce"])},
)
shares = st.sampled_from([0.1, 0.4])
tables = st.fixed_dictionaries(
    {},
    optional={
        "windows": windows,
        "max_in_flight": st.integers(1, 3),
        "token_limits": st.fixed_dictionaries({"windows": st.builds(lambda n: [{"limit": n, "per": "10s"}], st.integers(5, 20))}),
        "burst_capacity": st.just(1),
        "backlog": backlogs,
        "reserve": st.builds(lambda share, priority: {"share": share, "priority": priority}, shares, st.sampled_from([5, 7])),
    },
).filter(is_possible)
ageings = st.sampled_from([{}, {}, {"priority_ageing": "1s"}, {"priority_ageing": "10s"}])
configs = st.fixed_dictionaries(
    {},
    optional={
        "global": st.builds(lambda table, ageing: table | ageing, tables, ageings),
        "services": st.fixed_dictionaries(
            {},
            optional={
                "api": st.builds(
                    lambda table, chat: {**table, **({"endpoints": {"chat": chat}} if chat else {})}, tables, st.none() | tables
                ),
                "git": tables,
            },
        ),
        "loop_types": st.fixed_dictionaries({}, optional={"planner": tables}),
        "loops": st.fixed_dictionaries(
            {}, optional={"*": tables, "b": st.builds(lambda table: table | {"fair_weight": 3}, tables)}
        ),
    },
)
# From the last instant before something is due to long after it: windows last 1, 7, 10 and 60 s, leases 5 and 10 s.
ticks = st.sampled_from(
    [1, 1_000, 100_000, 600_000, 1_100_000, 4_500_000, 5 * SECOND_US, 7_200_000, 10_300_000, 40 * SECOND_US, 62 * SECOND_US]
)
numbers = st.integers(0, 99)
palettes = st.lists(
    st.builds(
        lanes_of, st.sampled_from(SCOPES), st.sampled_from([(5,), (5,), (0, 9)]), st.sampled_from(["q", "q", "q2", OUTBOX + "q3"])
    ),
    min_size=1,
    max_size=4,
)
max_waits = st.sampled_from([None, None, None, 1.0, 30.0])
coalesce_keys = st.sampled_from(["", "", "", "=a", "=b", "~a", "~a", "~b"])


@dataclass
class Steps:
    """What was done, for the report of a run."""

    calls: int = 0
    releases: int = 0


STEPS = Steps()


class SchedulerMachine(RuleBasedStateMachine):
    """Producers, dispatchers, workers and operators, in any order."""

    def __init__(self, client: Redis) -> None:
        super().__init__()
        client.flushdb()
        self.realm = Realm(client, claim_within_s=CLAIM_WITHIN_S, lease_s=LEASE_S)
        self.model = Model(round(CLAIM_WITHIN_S * SECOND_US), round(LEASE_S * SECOND_US), self.realm.now_us)
        self.lanes: list[Lane] = []
        self.made: list[WaitingTask] = []
        self.in_hand: list[Message] = []
        self.whole = True  # no rule has failed: the work can be done to its end

    def _now(self) -> None:
        STEPS.calls += 1
        self.whole = False
        self.model.clock.set(self.realm.now_us)

    @initialize(limits=configs, lanes=palettes)
    def start(self, limits: dict[str, Any], lanes: list[list[Lane]]) -> None:
        """A few lanes, so that they meet each other often."""
        self.lanes = [each for some in lanes for each in some]
        self.publish(limits)

    def _lane(self, number: int) -> Lane:
        return self.lanes[number % len(self.lanes)]

    @rule(limits=configs)
    def publish(self, limits: dict[str, Any]) -> None:
        self._now()
        self.realm.publish(limits)
        self.model.published_limits(LimitsConfig.load(limits), self.realm.state())
        self.whole = True

    @rule(
        scope=st.sampled_from(["global", "service:api", "endpoint:api/chat", "loop_type:planner", "loop:a"]),
        act=st.sampled_from(["pause", "resume", "resume", "close", "close"]),
        seconds=st.sampled_from([0.3, 1.0, 8.0]),
    )
    def regulate(self, scope: str, act: str, seconds: float) -> None:
        """An operator or an observer holds a scope back, or lets it go."""
        self._now()
        realm, model = self.realm, self.model.regulators
        if act == "close":
            realm.regulator.close(scope, seconds, now_us=realm.now_us)
            model.close(scope, realm.now_us + round(seconds * SECOND_US))
        elif act == "pause":
            realm.regulator.pause(scope, now_us=realm.now_us)
            model.pause(scope)
        else:
            realm.regulator.resume(scope, now_us=realm.now_us)
            model.resume(scope)
        self.model.nothing_happened(realm.state())
        self.whole = True

    # Producers

    @rule(
        lanes=st.lists(numbers, min_size=1, max_size=4),
        weight=st.sampled_from([1, 1, 1, 2, 3]),
        tokens=st.sampled_from([0, 0, 1, 5, 9]),
        max_wait_s=max_waits,
        continues=st.sampled_from([False, False, True]),
        key=coalesce_keys,
    )
    def submit(self, lanes: list[int], continues: bool, **options: Any) -> None:
        options["continues"] = continues
        for number in lanes:
            self._submit(self.realm.task(f"t{len(self.made)}", self._lane(number), **options))

    @rule(number=numbers, after_us=ticks, max_wait_s=max_waits, key=coalesce_keys)
    def submit_for_later(self, number: int, after_us: int, **options: Any) -> None:
        self._submit(self.realm.task(f"t{len(self.made)}", self._lane(number), due_in_s=after_us / SECOND_US, **options))

    @rule(
        number=numbers, deadline_us=st.sampled_from([-1, 1, 1_000_000, 30_000_000]), after_us=st.sampled_from([None, 1_100_000])
    )
    def submit_until(self, number: int, deadline_us: int, after_us: int | None) -> None:
        due_in_s = None if after_us is None else after_us / SECOND_US
        bounds = {"due_in_s": due_in_s, "deadline_in_s": deadline_us / SECOND_US}
        self._submit(self.realm.task(f"t{len(self.made)}", self._lane(number), **bounds))

    @precondition(lambda self: self.made)
    @rule(number=numbers, other_token=st.booleans(), max_wait_s=max_waits)
    def submit_again(self, number: int, other_token: bool, max_wait_s: float | None) -> None:
        """A producer sends again what it has sent, or new work under the same name."""
        task = self.made[number % len(self.made)]
        if other_token:
            task = replace(task, token=self.realm.task(task.task, task.lane).token, max_wait_s=max_wait_s)
        self._submit(task)

    def _submit(self, task: WaitingTask) -> None:
        self._now()
        impossible = self.model.accounts.too_large(task) and self.model.is_known(task) is False
        try:
            status = self.realm.submit_task(task)
        except CostTooLarge:
            assert self.model.accounts.too_large(task)
            self.model.nothing_happened(self.realm.state())
        except QueueFull:
            self.model.refused(task, self.realm.state())
        else:
            if isinstance(status, CoalescedInto):
                self.model.coalesced(task, status.task, self.realm.state())
                self.whole = True
                return
            if status is not Submitted.KNOWN:
                self.made = [*(each for each in self.made if each.task != task.task), task]
            self.model.submitted(task, status, self.realm.state())
            assert not impossible
        self.whole = True

    @precondition(lambda self: self.made)
    @rule(number=numbers)
    def cancel(self, number: int) -> None:
        self._now()
        task = self.made[number % len(self.made)]
        verdict = self.realm.cancel(task.task, task.lane, weight=task.weight, tokens=task.tokens)
        self.model.cancelled(task, verdict, self.realm.state())
        self.whole = True

    @precondition(lambda self: self.model.expired)
    @rule()
    def settle(self) -> None:
        """The callers of the tasks that have waited too long are told."""
        for name in sorted(self.model.expired):
            self._now()
            self.realm.scheduler.settle(name)
            self.model.settled(name, self.realm.state())
            self.whole = True

    # Dispatchers

    @rule(budget=st.sampled_from([1, 2, 3, 100]), rung=st.booleans())
    def dispatch(self, budget: int, rung: bool) -> None:
        self._dispatch(budget, rung=rung)

    def _dispatch(self, budget: int = 100, *, rung: bool = True) -> float | None:
        self._now()
        if rung:
            self.realm.client.delete(self.realm.keys("bell"))
        dispatched = self.realm.dispatch(budget)
        self.model.dispatched(dispatched, budget, self.realm.state())
        STEPS.releases += dispatched.released
        self.whole = True
        return dispatched.next_in_s

    @rule()
    def dispatch_all(self) -> None:
        self._dispatch_all()

    def _dispatch_all(self) -> float | None:
        for _ in range(20 + 3 * len(self.model.tasks)):
            next_in_s = self._dispatch()
            if next_in_s != 0:
                self.whole = False
                check_nothing_is_left(self.model)
                self.whole = True
                return next_in_s
        message = f"the dispatcher turns on the spot: {self.model.state.keys}"
        self.whole = False
        raise AssertionError(message)

    # Publishers

    @rule(most=st.sampled_from([1, 100]), dies=st.sampled_from(["", "", "before", "after"]), gives_back=st.booleans())
    def publish_releases(self, most: int, dies: str, gives_back: bool) -> None:
        """A publisher takes releases, and publishes them; it may die before it has, or before it has said so."""
        taken = self._take_releases(most)
        if dies == "before":
            if gives_back:
                self.realm.outbox.give_back(taken.releases)
                self.model.given_back(taken.releases, self.realm.state())
            return
        for each in taken.releases:
            self.realm.client.lpush(ELSEWHERE + each.queue, each.envelope)
        self.model.published(taken.releases)
        if not dies:
            self._now()
            self.realm.confirm(taken.releases)
            self.model.confirmed(taken.releases, self.realm.state())
            self.whole = True

    def _take_releases(self, most: int) -> Taken:
        self._now()
        taken = self.realm.take_releases(most, PUBLISH_WITHIN_S)
        for queue in taken.asked:
            if not self.model.queues.get(ELSEWHERE + queue):
                self.realm.outbox.seen_empty(queue, taken.at_us)
                self.model.emptied_us[OUTBOX + queue] = taken.at_us
        self.model.took(taken, most, round(PUBLISH_WITHIN_S * SECOND_US), self.realm.state())
        self.whole = True
        return taken

    # Time

    @rule(by_us=ticks)
    def tick(self, by_us: int) -> None:
        self.realm.now_us += by_us

    @rule(by_us=st.sampled_from([1, 1_000, 100_000]))
    def tick_back(self, by_us: int) -> None:
        self.realm.now_us -= by_us

    @rule()
    def wait(self) -> None:
        """Until something is due, to the microsecond."""
        state = self.model.state
        due_us = min(state.due_us(), min(state.deadlines.values(), default=float("inf")))
        if self.realm.now_us < due_us < float("inf"):
            self.realm.now_us = int(due_us)

    # Workers

    @rule(
        worker=st.sampled_from(["w1", "w2"]),
        slots=st.sampled_from([0, 1, 2, 5]),
        queues=st.sampled_from([("q",), ("q2",), QUEUES[2:], QUEUES]),
    )
    def attend(self, worker: str, slots: int, queues: tuple[str, ...]) -> None:
        self._now()
        shares = dict.fromkeys(queues, slots)
        self.realm.attend(worker, shares, silence_s=20)
        self.model.attended(worker, shares, 20 * SECOND_US, self.realm.state())
        self.whole = True

    def _take(self) -> Message | None:
        """The next message of the broker leaves its queue, and a worker has it in hand."""
        for queue in (*QUEUES, ELSEWHERE + "q3"):
            if self.model.queues.get(queue):
                message = self.realm.take(queue)
                assert message is not None
                self.model.queues[queue].pop()
                self.in_hand.append(message)
                return message
        return None

    def _message(self, number: int) -> Message | None:
        """Some message that a worker has in hand, or has had: a copy may turn up after its task's end."""
        if not self.in_hand:
            return self._take()
        return self.in_hand[number % len(self.in_hand)]

    @rule(number=st.integers(1, 3), lost=st.sampled_from([False, False, True]))
    def take(self, number: int, lost: bool) -> None:
        """Workers pop messages. One that dies before it has recorded its message loses it."""
        for _ in range(number):
            if self._take() and lost:
                self.in_hand.pop()

    @precondition(lambda self: self.in_hand)
    @rule(number=numbers)
    def die(self, number: int) -> None:
        """A worker is lost with what it has in hand."""
        del self.in_hand[number % len(self.in_hand)]

    @rule(number=numbers, claimant=st.sampled_from(["", "other"]))
    def claim(self, number: int, claimant: str) -> None:
        if message := self._message(number):
            self._claim(message, f"{claimant}{message.fence}")

    @rule(number=numbers)
    def claim_twice(self, number: int) -> None:
        """A message was delivered twice, or the answer to a claim was lost on its way."""
        if message := self._message(number):
            self._claim(message, f"one {message.fence}")
            self._claim(message, f"other {message.fence}")
            self._claim(message, f"one {message.fence}")

    def _claim(self, message: Message, claimant: str) -> None:
        self._now()
        granted = self.realm.claim(message, claimant)
        self.model.claimed(message, claimant, granted, self.realm.state())
        self.whole = True

    @rule(number=numbers, share=st.sampled_from([0, 0.5, 1]))
    def settle_tokens(self, number: int, share: float) -> None:
        """A task says that it has cost less than it had reserved, or as much. What is above has tests of its own."""
        message = self._message(number)
        flight = message and self.model.flights.get(message.task)
        if message and (flight is None or flight.settled is None):
            self._now()
            reserved = [each.units for each in flight.spent if each.limit.unit is Unit.TOKENS] if flight else [5]
            tokens = round(share * min(reserved, default=0))
            verdict = self.realm.settle_tokens(message, tokens, "proj.task")
            self.model.settled_tokens(message, tokens, verdict, self.realm.state())
            self.whole = True

    @rule(number=numbers, outcome=st.sampled_from([Outcome.OK, Outcome.FAILED]))
    def finish(self, number: int, outcome: Outcome) -> None:
        if message := self._message(number):
            self._finish(message, outcome)

    def _finish(self, message: Message, outcome: Outcome = Outcome.OK) -> None:
        self._now()
        accepted = self.realm.finish(message, outcome)
        self.model.finished(message, outcome, accepted, self.realm.state())
        self.whole = True

    @rule(count=counts)
    def run(self, count: int) -> None:
        """Tasks run to their end."""
        for _ in range(count):
            if message := self._message(0):
                self.in_hand.remove(message)
                self._claim(message, message.fence)
                self._finish(message)

    @rule(number=numbers, started=st.booleans())
    def put_back(self, number: int, started: bool) -> None:
        if message := self._message(number):
            if started:
                self._claim(message, message.fence)
            self._now()
            accepted = self.realm.put_back(message)
            self.model.returned(message, accepted, self.realm.state())
            self.whole = True

    @rule(number=numbers, seconds=st.sampled_from([0.3, 8.0]))
    def throttle(self, number: int, seconds: float) -> None:
        """The service refuses the call of a task that runs."""
        message = self._message(number)
        if message is None or not throttled_scope(self._lane_of(message)):
            return
        self._claim(message, message.fence)
        self._now()
        accepted = self.realm.throttle(message, seconds)
        self.model.throttled(message, round(seconds * SECOND_US), accepted, self.realm.state())
        self.whole = True

    def _lane_of(self, message: Message) -> Lane:
        return next(task.lane for task in self.made if task.task == message.task)

    @precondition(lambda self: self.in_hand)
    @rule()
    def renew(self) -> None:
        self._now()
        messages = list(dict.fromkeys(self.in_hand))
        renewed = self.realm.renew(*messages)
        self.model.renewed(messages, renewed, self.realm.state())
        self.whole = True

    @rule()
    def look(self) -> None:
        """Somebody asks how many workers there should be. That changes nothing, which the next call shows."""
        self._now()
        check_demand(self.model, self.realm.scheduler.demand(now_us=self.realm.now_us))

    # The end

    @rule()
    def drain(self) -> None:
        """Everything that waits is released within the time that the limits need for it."""
        for scope in sorted(self.model.regulators.paused):
            self.regulate(scope, "resume", 0)
        deadline_us = self.realm.now_us + self._longest_us()
        while self.model.tasks:
            self._work()
            next_in_s = self._dispatch_all()
            self._work()
            if not self.model.tasks:
                break
            assert next_in_s is not None, f"nobody would ever come back for {list(self.model.tasks)}"
            self.realm.tick(next_in_s)
            assert self.realm.now_us <= deadline_us, f"{list(self.model.tasks)} are still here"

    def _work(self) -> None:
        while True:
            self.publish_releases(100, "", False)
            if not self.in_hand and not any(self.model.queues.values()):
                return
            self.run(1)

    def _longest_us(self) -> int:
        """What a client would need who served one task after the other, and waited for each limit anew."""
        tasks = self.model.tasks.values()
        period_us = self.model.accounts.longest_period_us()
        last_due_us = max((task.due_us - self.realm.now_us for task in tasks if task.due_us), default=0)
        return max(0, last_due_us) + (len(self.model.tasks) + 3) * (round(1.03 * period_us) + 20 * SECOND_US)

    def teardown(self) -> None:
        if not self.whole:
            return
        self.drain()
        self.settle()
        self.realm.tick(24 * 3600)
        self._work()
        self._dispatch_all()
        # What a publisher took, and died before it said so, leaves when the next one looks.
        self.publish_releases(100, "", False)
        check_empty(self.model)


PROFILES = {
    "turgor": settings(max_examples=150, stateful_step_count=40),
    "heavy": settings(max_examples=5_000, stateful_step_count=80),
}
PROFILE = settings(
    PROFILES.get(os.environ.get("HYPOTHESIS_PROFILE", "turgor"), PROFILES["turgor"]),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
# A defect is to be found, not explained: nothing is shrunk or remembered.
HUNT = settings(PROFILE, max_examples=3_000, phases=[Phase.generate], database=None, report_multiple_bugs=False, print_blob=False)


@pytest.mark.timeout(0)
def test_any_order_of_calls_keeps_every_promise(redis_client: Redis) -> None:
    run_state_machine_as_test(lambda: SchedulerMachine(redis_client), settings=PROFILE)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.defect)
def test_a_planted_defect_is_found(mutant: Mutant, embedded_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """This tries the tests and not the server, so one server will do."""
    mutant.plant(SCRIPTS, monkeypatch)
    for script in SCRIPTS:
        embedded_client.script_load(script.source)  # a defect is no mistake of syntax
    with pytest.raises((AssertionError, ResponseError)):
        run_state_machine_as_test(lambda: SchedulerMachine(embedded_client), settings=HUNT)
