"""The typed face of the scheduler's scripts. Each method is one script: one atomic promise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias, cast

from ..limits.errors import CostTooLarge
from ..limits.keys import Keys
from ..limits.link import Link
from ..limits.lua import LIMITS_LUA, Client, Script
from ..limits.outcome import Outcome
from ..limits.regulator import closure_us
from .demand import HORIZON_S, Demand, Presence
from .errors import QueueFull, queue_full
from .expired_task import ExpiredTask
from .explanation import Explanation, explanation
from .lane import Lane
from .outbox import SCRIPTS as OUTBOX_SCRIPTS
from .pipeline import run_many
from .waiting_task import CoalescedInto, Submitted, WaitingTask

SECOND_US = 1_000_000
HEADER_BYTES = 16
SETTLE_WITHIN_S = 30
LOOK_AGAIN_S = 1.0
_LUA = Path(__file__).parent / "lua"


def _script(name: str) -> Script:
    return Script(_LUA / f"{name}.lua", LIMITS_LUA)


_SUBMIT, _DISPATCH, _CLAIM, _FINISH = _script("submit"), _script("dispatch"), _script("claim"), _script("finish")
_PUT_BACK, _RENEW, _ATTEND, _DEMAND = _script("put_back"), _script("renew"), _script("attend"), _script("demand")
_CANCEL, _EXPLAIN, _THROTTLE, _SETTLE_TOKENS = (
    _script("cancel"),
    _script("explain"),
    _script("throttle"),
    _script("settle_tokens"),
)
_WITHDRAW, _DISCARD_LANE, _DISCARD_DELAYED = _script("withdraw"), _script("discard_lane"), _script("discard_delayed")
SCRIPTS = (
    _SUBMIT, _DISPATCH, _CLAIM, _FINISH, _PUT_BACK, _RENEW, _ATTEND, _CANCEL, _EXPLAIN, _THROTTLE, _SETTLE_TOKENS,
    _WITHDRAW, _DISCARD_LANE, _DISCARD_DELAYED, _DEMAND, *OUTBOX_SCRIPTS,
)  # fmt: skip
# Stands where an expired task has the limit that held it; no limit has such a name.
_REVOKED, _SHED = "\x1drevoked", b"\x1dshed "


# Why a submit was refused.
Refusal: TypeAlias = CostTooLarge | QueueFull


class Cancelled(StrEnum):
    """What became of a cancel. RELEASED came too late: a worker has the task, or will."""

    CANCELLED = "cancelled"
    RELEASED = "released"
    UNKNOWN = "unknown"


class Settled(StrEnum):
    """What became of a settlement. UNCOUNTED: no limit of the task counts tokens. STALE: its lease has lapsed."""

    SETTLED = "settled"
    UNCOUNTED = "uncounted"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What one dispatch did: counts, and the seconds until something is due (None: nothing is).

    `expired` counts the tasks that waited too long and are not settled yet.
    """

    released: int
    recovered: int
    promoted: int
    expired: int
    next_in_s: float | None


class Scheduler:
    """One realm's scheduler.

    Parameters
    ----------
    client, keys:
        Where the realm lives.
    claim_within_s:
        Seconds that a release may stay unclaimed before it is looked for.
    lease_s:
        Seconds that a claimed task counts as running unless its worker renews it.

    Every method takes `now_us`, which only tests and the simulator pass: the server's clock decides.
    """

    def __init__(self, client: Client, keys: Keys, *, claim_within_s: float = 30.0, lease_s: float = 30.0) -> None:
        self.client, self.keys = client, keys
        self.claim_within_s, self.lease_s = claim_within_s, lease_s
        self._run, self._realm = Link(client).call, keys.prefix
        self._claim_within_us = round(claim_within_s * SECOND_US)
        self._lease_us = round(lease_s * SECOND_US)

    def submit(self, task: WaitingTask, *, now_us: int | str = "") -> Submitted | CoalescedInto:
        """Accept a task, once; release it at once if nothing holds it.

        Raises
        ------
        CostTooLarge
            A limit never holds as much as the task costs. Nothing is stored.
        QueueFull
            The task would have to wait, and there is no room. Nothing is stored.
        """
        return self._submitted(task, self._run(*self._submission(task, now_us)))

    def submit_many(self, tasks: Sequence[WaitingTask], *, now_us: int | str = "") -> list[Submitted | CoalescedInto | Refusal]:
        """`submit` for each, in one round trip; what would be raised is returned in its place.

        Each is accepted by itself. If the connection breaks, all may be submitted again: none is stored twice.
        """
        calls = [self._submission(task, now_us) for task in tasks]
        replies = run_many(self.client, _SUBMIT, [values for _, *values in calls])
        return [self._answer(task, reply) for task, reply in zip(tasks, replies, strict=True)]

    def _answer(self, task: WaitingTask, reply: list[Any]) -> Submitted | CoalescedInto | Refusal:
        try:
            return self._submitted(task, reply)
        except (CostTooLarge, QueueFull) as error:
            return error

    def _submission(self, task: WaitingTask, now_us: int | str) -> tuple[Any, ...]:
        due_us = "" if task.due_us is None else task.due_us
        max_wait_us = "" if task.max_wait_s is None else round(task.max_wait_s * SECOND_US)
        return (
            _SUBMIT, self._realm, now_us, task.task, task.token, task.lane.name, task.weight, task.tokens,
            due_us, max_wait_us, "" if task.deadline_us is None else task.deadline_us, int(task.continues), task.template, self._claim_within_us,
        )  # fmt: skip

    @staticmethod
    def _submitted(task: WaitingTask, reply: list[Any]) -> Submitted | CoalescedInto:
        status = reply[0].decode()
        if status == "too_large":
            cost, capacity, scope, limit = reply[1:]
            raise CostTooLarge(int(cost), int(capacity), f"{scope.decode()} {limit.decode()}", task=task.task)
        if status == "full":
            raise queue_full(task.task, reply[1:])
        if status == "coalesced":
            return CoalescedInto(reply[1].decode())
        return Submitted(status)

    def wait_for_room(self, refused: QueueFull, within_s: float) -> bool:
        """Wait until a refused task may find room; False if its scope does not want that, or the time is over.

        Others may be faster, so true means no more than to try again.
        """
        if refused.block_s <= 0 or within_s <= 0:
            return False
        self.client.blpop([self.keys(f"room:{refused.scope}")], timeout=min(within_s, LOOK_AGAIN_S))
        return True

    def dispatch(self, budget: int = 50, *, now_us: int | str = "") -> Dispatched:
        """Release what may run now, in at most `budget` attempts."""
        released, recovered, promoted, expired, next_us = self._run(_DISPATCH, self._realm, now_us, budget, self._claim_within_us)
        next_us = int(next_us)
        return Dispatched(released, recovered, promoted, expired, None if next_us < 0 else next_us / SECOND_US)

    def expired(self, most: int = 100) -> list[ExpiredTask]:
        """Tasks that waited too long, each given to one caller at a time. Tell theirs, then `settle` them."""
        _, found = cast("tuple[int, dict[bytes, bytes]]", self.client.hscan(self.keys("expired"), count=most))
        tasks: list[ExpiredTask] = []
        for name, record in found.items():
            if taken := self._to_be_told(name.decode(), record):
                tasks.append(taken)
        return tasks

    def expired_one(self, task: str) -> ExpiredTask | None:
        """The same for one task; None if there is nothing to tell, or somebody else is at it."""
        record = cast("bytes | None", self.client.hget(self.keys("expired"), task))
        return None if record is None else self._to_be_told(task, record)

    def _to_be_told(self, task: str, record: bytes) -> ExpiredTask | None:
        if not self.client.set(self.keys(f"settling:{task}"), 1, nx=True, ex=SETTLE_WITHIN_S):
            return None
        reason, _, stored = record.partition(b"\x1e")
        revoked, shed_by = reason == _REVOKED.encode(), reason.removeprefix(_SHED).decode() if reason.startswith(_SHED) else ""
        return ExpiredTask(task, "" if revoked or shed_by else reason.decode(), stored[HEADER_BYTES:], revoked, shed_by)

    def settle(self, task: str) -> None:
        """Forget an expired task, once its caller knows."""
        self.client.hdel(self.keys("expired"), task)

    def claim(self, task: str, fence: str | int, claimant: str, *, now_us: int | str = "") -> bool:
        """Whether this execution of the task may run. Ask just before user code; ask again if the answer was lost."""
        verdict: bytes = self._run(_CLAIM, self._realm, now_us, task, fence, claimant, self._lease_us, self._claim_within_us)
        return verdict == b"claimed"

    def settle_tokens(self, task: str, fence: str | int, tokens: int, *, name: str = "", now_us: int | str = "") -> Settled:
        """Charge a running task for what it has cost so far instead of its estimate, and learn that for tasks of this `name`.

        The last number counts. Calling again with the same one changes nothing.
        """
        verdict: bytes = self._run(_SETTLE_TOKENS, self._realm, now_us, task, fence, tokens, name, self._claim_within_us)
        return Settled(verdict.decode())

    def finish(
        self, task: str, fence: str | int, outcome: Outcome = Outcome.OK, *, counted: bool = False, now_us: int | str = ""
    ) -> bool:
        """End a released task. False if the fence is not its own any more.

        One that did not end well before it settled its tokens gets back what it had reserved. `counted` says that
        the breaker or the adaptive share of its service wants the outcome.
        """
        verdict: bytes = self._run(_FINISH, self._realm, now_us, task, fence, outcome, int(counted), self._claim_within_us)
        return verdict == b"finished"

    def put_back(self, task: str, fence: str | int, *, now_us: int | str = "") -> bool:
        """Give a released task back unfinished, to the head of its lane. False if the fence is not its own any more."""
        verdict: bytes = self._run(_PUT_BACK, self._realm, now_us, task, fence, self._claim_within_us)
        return verdict == b"returned"

    def throttle(self, task: str, fence: str | int, seconds: float, *, reason: str = "429", now_us: int | str = "") -> bool:
        """Close the scope of a task that its service refused, and give the task back to the head of its lane.

        The scope is the task's endpoint, or else its service; it opens in `seconds`, as a ramp. False if the
        fence is not its own any more.

        Raises
        ------
        ValueError
            The task calls no service, so there is nothing to close; or `seconds` is no positive number.
        """
        verdict: bytes = _THROTTLE(
            self.client, self._realm, now_us, task, fence, closure_us(seconds), reason, self._claim_within_us
        )
        if verdict == b"unscoped":
            raise ValueError(f"task {task!r} calls no service, so nothing can be closed: name its service")
        return verdict == b"returned"

    def renew(self, leases: Iterable[tuple[str, str | int]], *, now_us: int | str = "") -> int:
        """Say that these (task, fence) are still in good hands. Returns how many were renewed."""
        pairs = [value for lease in leases for value in lease]
        return self._run(_RENEW, self._realm, now_us, self._lease_us, *pairs) if pairs else 0

    def attend(
        self,
        worker: str,
        slots: dict[str, int],
        *,
        presence: Presence | None = None,
        silence_s: float = 20.0,
        now_us: int | str = "",
    ) -> None:
        """Say that a worker lives, and how many tasks it can take from each broker queue; 0 leaves the queue."""
        shares = [value for share in slots.items() for value in share]
        said = "" if presence is None else str(presence)
        self._run(_ATTEND, self._realm, now_us, worker, round(silence_s * SECOND_US), self._claim_within_us, said, *shares)

    def demand(self, *, horizon_s: float = HORIZON_S, queues: Iterable[str] = (), now_us: int | str = "") -> Demand:
        """What asks for workers, of some broker queues or of all, and what the limits will admit until the horizon."""
        return Demand.read(self._run(_DEMAND, self._realm, now_us, round(horizon_s * SECOND_US), *queues))

    def cancel(self, task: str, lane: Lane, *, weight: int = 1, tokens: int = 0, now_us: int | str = "") -> Cancelled:
        """Take a task out that waits or is delayed."""
        return Cancelled(self._run(_CANCEL, self._realm, now_us, task, lane.name, weight, tokens).decode())

    def withdraw(
        self, task: str, lane: Lane, *, weight: int = 1, tokens: int = 0, revoked: bool = False, now_us: int | str = ""
    ) -> Cancelled:
        """Take a task out that no worker has yet: `cancel`, and also from the broker's queue.

        One that is `revoked` stands among the `expired` until its caller has been told and it is settled.
        """
        reason = _REVOKED if revoked else ""
        return Cancelled(
            self._run(_WITHDRAW, self._realm, now_us, task, lane.name, weight, tokens, reason, self._claim_within_us).decode()
        )

    def discard_lane(self, lane: Lane, most: int, *, now_us: int | str = "") -> int:
        """Discard at most so many tasks that wait in a lane, the newest first. Returns how many there were."""
        return self._run(_DISCARD_LANE, self._realm, now_us, lane.name, most)

    def discard_delayed(self, entries: Iterable[bytes], *, now_us: int | str = "") -> int:
        """Discard delayed tasks, given as the members of `delayed`. Returns how many were still there."""
        return self._run(_DISCARD_DELAYED, self._realm, now_us, *entries)

    def explain(self, task: str, lane: Lane, *, weight: int = 1, tokens: int = 0, now_us: int | str = "") -> Explanation:
        """Where a task is, and what holds it."""
        return explanation(task, self._run(_EXPLAIN, self._realm, now_us, task, lane.name, weight, tokens))
