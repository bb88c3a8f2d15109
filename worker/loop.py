"""A loop, seen by its own program: what it submits, where that is, and taking it back.

    planner = turgor.loop("planner-7", type="planner")
    results = planner.submit_many([complete.s(prompt) for prompt in prompts])
    print(planner.status())
    waited = planner.wait(results, timeout=60)

Results are Celery's `AsyncResult`; that of `submit` says more. A loop holds nothing but its name: make as many of the same as you like.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from celery import Signature, Task
from celery.exceptions import TimeoutError as ResultTimeout
from celery.result import AsyncResult

from ..scheduler.loop_work import LoopStatus, loop_status, tasks_without_worker
from .batch import Batch
from .envelope import stored_attempts
from .errors import BatchRefused
from .insistence import insist
from .loop_result import LoopResult
from .receipt import receipt
from .revocation import revoke

if TYPE_CHECKING:
    from ..scheduler.scheduler import Refusal
    from .errors import ServiceUnderPressure
    from .turgor import Turgor

Result: TypeAlias = "AsyncResult[Any]"
AT_ONCE = 500


class LoopCall(NamedTuple):
    """One call for `submit_many`: the task or its name, its arguments, and the options of `apply_async`."""

    task: Task[..., Any] | str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = {}


class Waited(NamedTuple):
    """What has come of results that were waited for, in the order in which they were given."""

    done: list[Result]
    pending: list[Result]


class Loop:
    """A caller that keeps enqueueing work: an agent, a cron, a tenant.

    Parameters
    ----------
    turgor:
        The app's Turgor.
    name, type:
        The loop, and its kind, as limits name them.
    options:
        Of `apply_async`, for every submit that does not give its own.

    Raises
    ------
    ValueError
        The name is empty.
    """

    def __init__(self, turgor: Turgor, name: str, *, type: str = "", **options: Any) -> None:  # noqa: A002  the word of the limits
        if not name:
            raise ValueError("name='': give the loop a name")
        self.name, self.type = name, type
        self._turgor = turgor
        self._options = options
        self._who = {"loop": name, "loop_type": type} if type else {"loop": name}

    def __repr__(self) -> str:
        return f"<Loop {self.name}>"

    def submit(
        self, task: Task[..., Any] | str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> LoopResult:
        """`task.apply_async`, or `send_task` for a name, on behalf of the loop. Raises what these raise.

        The result says where the task stood just then, and when it is expected to start.
        """
        with receipt() as mine:
            sent = self._send(task, args, kwargs, options)
        return LoopResult.of(sent, mine)

    def submit_many(self, calls: Iterable[LoopCall | Signature[Any]]) -> list[Result]:
        """Submit many calls, 500 in one round trip, each accepted by itself as `submit` would have done.

        A call is a `LoopCall` or a signature, such as `complete.s("hi")`. The results are in the order of the calls;
        that of a call which was coalesced is the result of the task that stands for it.
        `after_task_publish` is sent when a call has been written down, which is before its batch is sent.

        Raises
        ------
        BatchRefused
            Calls that no limit will ever allow, for which there was no room to wait, or that are shed. All others are submitted: it has their results.
        """
        results: list[Result] = []
        refused: dict[int, Refusal | ServiceUnderPressure] = {}
        with self._turgor.app.producer_or_acquire() as producer:
            batch = Batch(producer)
            for batch.call, call in enumerate(calls):
                results.append(self._send_into(batch, call))
                if batch.size >= AT_ONCE:
                    refused |= self._submit(batch)
            refused |= self._submit(batch)
        for number, into in batch.coalesced.items():
            results[number] = self.result(into)
        if refused:
            raise BatchRefused(results, refused)
        return results

    def status(self) -> LoopStatus:
        """Where the loop's tasks are, and what holds them. Looks through all that waits in the realm."""
        return loop_status(self._turgor.scheduler, self.name)

    def cancel(self, task_id: str) -> bool:
        """Revoke a task of this loop that no worker has yet. False if a worker has it, or it is not this loop's.

        Unlike `app.control.revoke`, this tells no worker.
        """
        held = stored_attempts(self._turgor.client, self._turgor.keys, (task_id,))
        ours = any(message["headers"].get("loop") == self.name for _, _, message in held)
        return ours and bool(revoke(self._turgor, (task_id,)))

    def cancel_all(self) -> int:
        """Revoke all tasks of this loop that wait or are delayed. Returns how many."""
        tasks = list(dict.fromkeys(tasks_without_worker(self._turgor.scheduler, self.name)))
        return len(revoke(self._turgor, tasks))

    def wait(self, results: Iterable[Result | str], timeout: float | None = None) -> Waited:
        """Wait until all of these have ended, well or not, or `timeout` seconds are over. Raises for no task's failure."""
        waited = Waited([], [])
        give_up_at = None if timeout is None else time.monotonic() + timeout
        for each in results:
            result = self.result(each)
            left_s = None if give_up_at is None else give_up_at - time.monotonic()
            (waited.done if ends(result, left_s) else waited.pending).append(result)
        return waited

    def result(self, of: Result | str) -> Result:
        """The result of a task by its id; a result is what it is."""
        return self._turgor.app.AsyncResult(of) if isinstance(of, str) else of

    def _send(
        self, task: Task[..., Any] | str, args: Sequence[Any], kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]
    ) -> Result:
        every, named = {**self._options, **options, **self._who}, dict(kwargs or {})
        if isinstance(task, str):
            return self._turgor.app.send_task(task, args=tuple(args), kwargs=named, **every)
        return task.apply_async(tuple(args), named, **every)

    def _send_into(self, batch: Batch, call: LoopCall | Signature[Any]) -> Result:
        if isinstance(call, LoopCall):
            return self._send(call.task, call.args, call.kwargs, {**call.options, "producer": batch})
        return call.apply_async(**{**self._options, **call.options, **self._who, "producer": batch})

    def _submit(self, batch: Batch) -> dict[int, Refusal | ServiceUnderPressure]:
        turgor = self._turgor
        conf = turgor.app.conf

        def submit() -> dict[int, Refusal | ServiceUnderPressure]:
            turgor.view.ensure_published()
            return batch.submit(turgor.scheduler)

        policy = conf.task_publish_retry_policy if conf.task_publish_retry else None
        return insist(submit, f"batch of {batch.size}", turgor, policy)


def ends(result: Result, within_s: float | None) -> bool:
    """Whether the task ends, well or not, within so many seconds; None for as long as it takes."""
    if within_s is not None and within_s <= 0:
        return result.ready()
    try:
        result.get(timeout=within_s, propagate=False)
    except ResultTimeout:
        return False
    return True
