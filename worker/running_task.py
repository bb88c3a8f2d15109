"""The task that runs here: `current.settle(tokens)` says what it has cost.

    from turgor.worker import current

    @app.task(service="llm_api")
    def complete(prompt):
        reply = client.responses.create(model=MODEL, input=prompt)
        current.settle_response(reply)
        return reply.output_text

The estimate that the task had reserved is corrected at once, not at the end of the task, so that others see
what is free, or overspent, as soon as it is known. If Redis does not answer just then, the task goes on, and the
number goes along with the report of its end.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery._state import get_current_worker_task

from ..limits.account import check_count
from ..limits.response_cost import tokens_of
from ..limits.server import UNAVAILABLE
from ..scheduler.scheduler import Settled
from .envelope import FENCE_HEADER, task_key
from .errors import NoRunningTask

if TYPE_CHECKING:
    from ..scheduler.scheduler import Scheduler

logger = logging.getLogger(__name__)


class RunningTask:
    """Stands for whatever task runs in this thread or greenlet.

    Attributes
    ----------
    unsaid:
        Tokens that Redis could not be told, by (task, fence); `say` takes them out.
    """

    def __init__(self) -> None:
        self.unsaid: dict[tuple[str, int], int] = {}

    def __repr__(self) -> str:
        task = get_current_worker_task()
        return "<no running task>" if task is None else f"<running task {task.name}[{task.request.id}]>"

    def settle(self, tokens: int) -> None:
        """Say what the task has cost so far, all in all. May be called again: the last number counts.

        Does nothing in a task that no limit concerns, or none that counts tokens, and in one that was called in
        this process (`apply`, `task_always_eager`).

        Parameters
        ----------
        tokens:
            At least 0. More than the task had reserved is charged as well, because it is spent.

        Raises
        ------
        ValueError
            `tokens` is not a whole number of at least 0.
        NoRunningTask
            No task runs in this thread.
        """
        check_count("tokens", tokens, 0)
        task = get_current_worker_task()
        if task is None:
            raise NoRunningTask
        request = vars(task.request)
        fence = request.get(FENCE_HEADER)
        turgor = getattr(task.app, "turgor", None)
        if fence is None or turgor is None:
            return
        attempt = (task_key(request), fence)
        try:
            self._settle(turgor.scheduler, attempt, tokens, task.name)
        except UNAVAILABLE as error:
            self.unsaid[attempt] = tokens
            logger.warning(
                "Redis is out of reach, %s[%s] settles its %d tokens later: %s", task.name, task.request.id, tokens, error
            )

    def settle_response(self, response: Any) -> int | None:
        """Settle what the response of a language model says that it has cost; see `tokens_of`.

        Returns the tokens. None if the response states none: then nothing is settled, the estimate stays charged,
        and a warning is logged.

        Raises
        ------
        NoRunningTask
            No task runs in this thread.
        """
        tokens = tokens_of(response)
        if tokens is not None:
            self.settle(tokens)
        elif get_current_worker_task() is None:
            raise NoRunningTask
        else:
            logger.warning("%r: the response states no usage, so the estimate stays charged", self)
        return tokens

    def say(self, scheduler: Scheduler, task: str, fence: int, name: str) -> bool:
        """Tell Redis what it could not be told before, if there is anything. True once nothing is unsaid."""
        tokens = self.unsaid.get((task, fence))
        if tokens is not None:
            self._settle(scheduler, (task, fence), tokens, name)
        return True

    def forget(self, task: str, fence: int) -> None:
        """The task has ended."""
        self.unsaid.pop((task, fence), None)

    def _settle(self, scheduler: Scheduler, attempt: tuple[str, int], tokens: int, name: str) -> None:
        settled = scheduler.settle_tokens(*attempt, tokens, name=name)
        self.unsaid.pop(attempt, None)
        if settled is Settled.STALE:
            logger.warning(
                "%s has lost its lease and runs elsewhere: its %d tokens are spent and counted nowhere", attempt[0], tokens
            )


current = RunningTask()
