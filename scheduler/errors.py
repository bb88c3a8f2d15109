"""Errors of the scheduler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..limits.errors import TurgorError
from ..limits.limit import SECOND_US
from ..limits.size import format_size


class QueueFull(TurgorError):
    """There is no room for the task to wait, so it was refused, and nothing has changed.

    Submit it again after `retry_after` seconds, slow down, or raise the `backlog` of the scope.

    Attributes
    ----------
    scope:
        Where there is no room, such as `service:llm_api`.
    unit:
        What is full: `"tasks"` or `"bytes"`.
    limit, current:
        How much may wait there, and how much does.
    retry_after:
        Seconds until there may be room, by what the limits of the scope admit; a second where nobody knows, and `inf` for
        a message that is larger than all that may wait.
    task:
        The task that was refused.
    block_s:
        How long the submitter is to wait for room first: 0, unless the scope says `overflow = "block"`.
    """

    def __init__(
        self, scope: str, unit: str, limit: int, current: int, retry_after: float, *, task: str = "", block_s: float = 0.0
    ) -> None:
        self.scope, self.unit, self.limit, self.current = scope, unit, limit, current
        self.retry_after, self.task, self.block_s = retry_after, task, block_s
        super().__init__(scope, unit, limit, current, retry_after)

    def __str__(self) -> str:
        most, waits = (
            (f"{self.limit} tasks", self.current) if self.unit == "tasks" else map(format_size, (self.limit, self.current))
        )
        remedy = "it is larger than that" if self.retry_after == math.inf else f"try again in {self.retry_after:.3g} s"
        origin = f"task {self.task}: " if self.task else ""
        return f"{origin}the backlog of {self.scope} is full: {waits} of {most} wait; {remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.args, self.task)


def _rebuild(values: tuple[str, str, int, int, float], task: str) -> QueueFull:
    return QueueFull(*values, task=task)


def queue_full(task: str, reply: Sequence[Any]) -> QueueFull:
    """What `submit.lua` replies where there is no room."""
    scope, unit, waiting, most, retry_us, block_us = reply
    retry_after = math.inf if int(retry_us) < 0 else int(retry_us) / SECOND_US
    block_s = int(block_us) / SECOND_US
    return QueueFull(scope.decode(), unit.decode(), int(most), int(waiting), retry_after, task=task, block_s=block_s)
