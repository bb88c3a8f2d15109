"""Insistence: ask the server again while it does not answer, for as long as Celery would try to publish."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from kombu.exceptions import OperationalError
from kombu.utils.functional import retry_over_time

from ..limits.errors import ServerUnreachable
from ..limits.server import UNREACHABLE, without_password

if TYPE_CHECKING:
    from .turgor import Turgor

T = TypeVar("T")
_RETRY_OPTIONS = ("max_retries", "interval_start", "interval_step", "interval_max")


def insist(ask: Callable[[], T], task: str, turgor: Turgor, retry_policy: dict[str, Any] | None) -> T:
    """Ask the server as the publish policy says, and fail as Celery does when it cannot publish."""
    try:
        if retry_policy is None:
            return ask()
        policy = {key: retry_policy[key] for key in _RETRY_OPTIONS if key in retry_policy}
        return retry_over_time(ask, UNREACHABLE, **policy)
    except UNREACHABLE as error:
        reason = error.__cause__ if isinstance(error, ServerUnreachable) else error
        raise OperationalError(f"task {task} is not submitted: no Redis at {without_password(turgor.url)}: {reason}") from error
