"""A batch: tasks that are written down one by one and submitted together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..limits.errors import CostTooLarge
from ..scheduler.errors import QueueFull
from ..scheduler.waiting_task import CoalescedInto

if TYPE_CHECKING:
    from kombu import Producer

    from ..scheduler.scheduler import Refusal, Scheduler
    from ..scheduler.waiting_task import WaitingTask
    from .errors import ServiceUnderPressure


class Batch:
    """Stands in for kombu's producer while the messages are made. What no limit concerns goes to the broker at once.

    Parameters
    ----------
    producer:
        Kombu's.

    Attributes
    ----------
    call:
        The number of the call that is being made.
    coalesced:
        The tasks that stand for calls which were coalesced into them, by the number of the call.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._tasks: list[tuple[int, WaitingTask, Callable[[], str | None], Callable[[str], None]]] = []
        self._shed: dict[int, ServiceUnderPressure] = {}
        self.call = 0
        self.coalesced: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    @property
    def size(self) -> int:
        """Tasks that are written down. No `__len__`: Celery would take an empty batch for no producer."""
        return len(self._tasks)

    def add(self, task: WaitingTask, submit: Callable[[], str | None], tell: Callable[[str], None]) -> None:
        """Write a task down.

        `submit` submits it alone, and gives the task that it was coalesced into, if it was. `tell` tells that to whoever waits for it.
        """
        self._tasks.append((self.call, task, submit, tell))

    def refuse(self, error: ServiceUnderPressure) -> None:
        """Write down that a task is shed."""
        self._shed[self.call] = error

    def submit(self, scheduler: Scheduler) -> dict[int, Refusal | ServiceUnderPressure]:
        """Submit what is written down, and forget it. Returns what was refused, by the number of its call.

        Raises what the client raises; then it may be asked again.
        """
        refused: dict[int, Refusal | ServiceUnderPressure] = {**self._shed}
        given_up: set[str] = set()
        answers = scheduler.submit_many([task for _, task, _, _ in self._tasks])
        for (call, _, submit, tell), answer in zip(self._tasks, answers, strict=True):
            if isinstance(answer, QueueFull) and (answer.block_s == 0 or answer.scope in given_up):
                refused[call] = answer
            elif isinstance(answer, CoalescedInto):
                tell(answer.task)
                self.coalesced[call] = answer.task
            elif isinstance(answer, (CostTooLarge, QueueFull)):
                try:
                    # An estimate is made anew, and may fit; where there is no room, it waits.
                    if into := submit():
                        self.coalesced[call] = into
                except CostTooLarge as error:
                    refused[call] = error
                except QueueFull as error:
                    refused[call] = error
                    given_up.add(error.scope)
        self._tasks.clear()
        self._shed.clear()
        return refused
