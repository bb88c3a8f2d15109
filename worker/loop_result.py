"""A loop result is Celery's result, and where its task stood when it was submitted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from celery.result import AsyncResult

from ..scheduler.explanation import Explanation
from .receipt import Receipt


class LoopResult(AsyncResult):
    """The result of `Loop.submit`.

    Attributes
    ----------
    explanation:
        Where the task stood as it was submitted. None if no limit concerned it, and where Redis has accepted it and then did
        not answer; `Turgor.explain` says where it stands now.
    degraded_to:
        The task that was submitted in its place, because its service was under pressure; None if it was itself.
    coalesced_into:
        The id of a task that waited already and stands for the call: this is its result. None if the call has its own.
    submitted_at:
        That time, by this machine's clock.
    """

    explanation: Explanation | None
    degraded_to: str | None
    coalesced_into: str | None
    submitted_at: datetime

    @classmethod
    def of(cls, result: AsyncResult[Any], receipt: Receipt) -> LoopResult:
        """The same result, or that of the task which stands for it, with what its submit has told."""
        made = cls(receipt.coalesced_into or result.id, backend=result.backend, app=result.app, parent=result.parent)
        made.explanation, made.degraded_to = receipt.explanation, receipt.degraded_to
        made.coalesced_into = receipt.coalesced_into
        made.submitted_at = datetime.now(UTC)
        return made

    @property
    def expected_start(self) -> datetime | None:
        """When the task will start, as far as that was known at its submit; see `Explanation.expected_in_s`."""
        found = self.explanation
        if found is None or found.expected_in_s is None:
            return None
        return self.submitted_at + timedelta(seconds=found.expected_in_s)
