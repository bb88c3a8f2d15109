"""Stands in for kombu's producer for one task that goes to the scheduler: envelope, submit, and what the answer means."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kombu import Exchange, Producer

from ..limits.errors import CostTooLarge
from ..limits.server import UNREACHABLE
from ..scheduler.coalesce_key import CoalesceKey
from ..scheduler.errors import QueueFull
from ..scheduler.explanation import Explanation, TaskState
from ..scheduler.scheduler import SECOND_US
from ..scheduler.waiting_task import CoalescedInto, Submitted, WaitingTask
from .batch import Batch
from .coalescing import tell_coalesced
from .continuation import goes_on
from .envelope import task_key, template
from .insistence import insist
from .routing import target_queue

if TYPE_CHECKING:
    from .caller import Call
    from .receipt import Receipt
    from .turgor import Turgor


class GateProducer:
    """Stands in for kombu's producer for one task: its message goes to the scheduler, anything else to the broker."""

    def __init__(
        self,
        producer: Producer | Batch,
        turgor: Turgor,
        call: Call,
        *,
        limited: bool,
        due_us: int | None,
        expires_us: int | None,
        continues: bool,
        key: CoalesceKey | None,
    ) -> None:
        self._producer, self._turgor, self._call = producer, turgor, call
        self._limited, self._due_us, self._continues, self._key = limited, due_us, continues, key
        deadline_us = None if call.deadline is None else round(call.deadline * SECOND_US)
        self._deadline_us = min((each for each in (deadline_us, expires_us) if each is not None), default=None)
        self.receipt: Receipt | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(
        self,
        body: Any,
        *,
        exchange: Exchange | str = "",
        routing_key: str = "",
        serializer: str | None = None,
        compression: str | None = None,
        headers: dict[str, Any],
        delivery_mode: Any = None,
        declare: list[Any] | None = None,
        retry: bool = False,
        retry_policy: dict[str, Any] | None = None,
        expiration: float | None = None,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
        **properties: Any,
    ) -> None:
        """`kombu.Producer.publish`, up to the point where the message would go to the broker."""
        self.publish = self._producer.publish  # the events that follow are not the task
        raw, content_type, content_encoding = self._producer._prepare(body, serializer, None, None, compression, headers)
        exchange_name, properties["delivery_mode"] = self._producer._delivery_details(exchange, delivery_mode)
        properties["priority"] = properties.get("priority") or 0
        if expiration is not None:
            properties["expiration"] = str(int(expiration * 1000))
        queue = target_queue(self._turgor, self._producer, exchange_name, routing_key, declare or [])

        def waiting() -> WaitingTask:
            return self._waiting(
                template(
                    raw,
                    content_type=content_type,
                    content_encoding=content_encoding,
                    headers=headers,
                    properties=properties,
                    queue=queue,
                ),
                task_key(headers),
                queue,
            )

        policy = retry_policy or {} if retry else None

        def submit() -> str | None:
            return self._submit_until_decided(waiting, policy, headers)

        if isinstance(self._producer, Batch):
            task = waiting()
            self._producer.add(task, submit, lambda into: tell_coalesced(self._turgor.app, task.template, into))
        else:
            submit()

    def _submit_until_decided(
        self, waiting: Callable[[], WaitingTask], policy: dict[str, Any] | None, headers: dict[str, Any]
    ) -> str | None:
        give_up_at: float | None = None
        while True:
            try:
                return self._submit(waiting(), policy)
            except QueueFull as full:
                give_up_at = give_up_at or time.monotonic() + full.block_s
                if goes_on():
                    self._continues = True
                elif not self._has_waited(full, give_up_at - time.monotonic()):
                    raise
            except CostTooLarge as error:
                if self._call.tokens_are is None or error.cost != self._call.tokens:
                    raise
                # The limit was lowered since the estimate was made.
                self._call = replace(self._call, tokens=error.capacity)
                headers.update(self._call.headers)

    def _has_waited(self, full: QueueFull, within_s: float) -> bool:
        """Whether there may be room by now, after a wait for it if the scope wants that."""
        try:
            return self._turgor.scheduler.wait_for_room(full, within_s)
        except UNREACHABLE:  # the next try says so, as the publish policy wants it
            return True

    def _waiting(self, template: bytes, task: str, queue: str) -> WaitingTask:
        return WaitingTask(
            task=task,
            token=os.urandom(8),
            lane=self._call.lane(self._turgor.broker_key(queue), limited=self._limited),
            template=self._key.mark(template) if self._key else template,
            weight=self._call.weight,
            tokens=self._call.tokens or 0,
            due_us=self._due_us,
            max_wait_s=self._call.max_wait,
            deadline_us=self._deadline_us,
            continues=self._continues,
        )

    def _submit(self, waiting: WaitingTask, retry_policy: dict[str, Any] | None) -> str | None:
        """Submit. Gives the task that it was coalesced into, if it was."""

        def submit() -> Submitted | CoalescedInto:
            self._turgor.view.ensure_published()
            return self._turgor.scheduler.submit(waiting)

        submitted = insist(submit, waiting.task, self._turgor, retry_policy)
        into = submitted.task if isinstance(submitted, CoalescedInto) else None
        if into is not None:
            tell_coalesced(self._turgor.app, waiting.template, into)
        if self.receipt is not None:
            self.receipt.coalesced_into = into
            self.receipt.explanation = self._explanation(waiting, submitted)
        return into

    def _explanation(self, task: WaitingTask, submitted: Submitted | CoalescedInto) -> Explanation | None:
        if submitted is Submitted.RELEASED:
            return Explanation(task.task, TaskState.RELEASED, expected_in_s=0.0)
        try:
            if isinstance(submitted, CoalescedInto):
                return self._turgor.explain(submitted.task)
            return self._turgor.forecasts.expect(task)
        except UNREACHABLE:  # the task is submitted, and that is what counts
            return None
