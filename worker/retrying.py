"""Runs a task's attempts: what an exception makes of them is decided here, around the task's `run`.

    the task raises                                        its attempt ends with
    Retry, Ignore, Reject, Throttled                       that, as without Turgor
    a 429 of its own service (1)                           Throttled: the service is closed, no attempt is spent
    what `retry_on` names                                  Retry, after the countdown, while the policy and the
                                                           service's retry budget allow another attempt
    all else, and what `retry_on` names after the last     that: the task has failed

(1) one that a hook of ours has seen, whatever the task declares, or one that `retry_on` names. Where nothing can be
closed, because no limits name the task's service, the retry waits as long as the 429 asks for and spends no attempt.

A countdown waits in Redis, like every other: the retry is published before the attempt ends. If Redis is away, the
attempt goes back and runs again, so that no outage loses the task; a retry that is refused (its service is gone from the
limits) is the task's failure.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from functools import wraps
from math import inf
from typing import TYPE_CHECKING, Any

from celery import Task
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.log import get_logger
from kombu.exceptions import OperationalError

from ..limits.refusal import Refusal
from ..limits.throttling import retry_after_s
from .envelope import FENCE_HEADER
from .retry_policy import RETRY_WITHIN, RetryPolicy
from .throttled import Throttled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery import Celery

    from .turgor import Turgor

RETRY_HEADER = "turgor_retry"
_IS_RETRYING = "turgor_is_retrying"
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Trail:
    """What a message knows of the attempts before it.

    Parameters
    ----------
    since_s:
        When the task was first submitted, in seconds since the epoch; None if nobody wrote it down.
    unspent:
        Retries that burned no attempt.
    """

    since_s: float | None = None
    unspent: int = 0

    @classmethod
    def of(cls, request: Any) -> Trail:
        return cls(*(request.get(RETRY_HEADER) or ()))

    @property
    def header(self) -> list[Any]:
        return [self.since_s, self.unspent]


def first_trail(app: Celery, name: str) -> list[Any] | None:
    """The header of a task's first message; None unless its policy asks for the time."""
    if getattr(app.tasks.get(name), RETRY_WITHIN, None) is None:
        return None
    return Trail(time.time()).header


def retry_as_declared(task: Task) -> bool:
    """Put the policy around the task's `run`. Once is enough; False if it was there."""
    members = vars(task)
    if _IS_RETRYING in members:
        return False
    policy, original = RetryPolicy.of(task), task.run

    @wraps(original)
    def run(*args: Any, **kwargs: Any) -> Any:
        started_s = time.time()
        try:
            return original(*args, **kwargs)
        except (Ignore, Reject, Retry):
            raise
        except Exception as error:
            end = _end_of_attempt(task, policy, started_s, error)
            if end is error:
                raise
            raise end from error

    members["run"] = run
    members[_IS_RETRYING] = True
    return True


def _end_of_attempt(task: Task, policy: RetryPolicy | None, started_s: float, error: Exception) -> BaseException:
    request: Any = task.request
    if request.called_directly:
        return error
    refusal = Refusal.of(error)
    is_named = policy is not None and isinstance(error, policy.on)
    if policy is None or not is_named:
        return _closing(task, refusal) if refusal.service and _is_own(task, refusal) else error
    trail = Trail.of(request)
    trail = replace(trail, since_s=trail.since_s or started_s)
    attempts = request.retries + 1 - trail.unspent
    if refusal.is_throttled:
        countdown_s = retry_after_s(refusal.retry_after_s)
        trail = replace(trail, unspent=trail.unspent + 1)
    elif policy.max_attempts is not None and attempts >= policy.max_attempts:
        return _gives_up(task, error, f"attempt {attempts} of {policy.max_attempts} was the last")
    else:
        countdown_s = policy.backoff.countdown_s(attempts, random.random())
        if refusal.retry_after_s is not None:
            countdown_s = refusal.retry_after_s
    if policy.within_s is not None and time.time() + countdown_s > (trail.since_s or 0.0) + policy.within_s:
        return _gives_up(
            task, error, f"the next attempt, {attempts + 1}, would start later than retry_within = {policy.within_s:g} s"
        )
    if refusal.is_throttled and _is_own(task, refusal):
        return _closing(task, refusal)
    if not refusal.is_throttled and (spent := _spend(task)):
        return _gives_up(task, error, spent)
    return _again(task, error, countdown_s, trail)


def _is_own(task: Task, refusal: Refusal) -> bool:
    """Whether the refusal is of the service that the task runs for, which the limits name."""
    request: Any = task.request
    turgor: Turgor | None = getattr(task.app, "turgor", None)
    service = request.get("service")
    if turgor is None or not service or request.get(FENCE_HEADER) is None or refusal.is_ours or not refusal.is_throttled:
        return False
    return refusal.service in ("", service) and service in turgor.view.config().services


def _closing(task: Task, refusal: Refusal) -> Throttled:
    logger.info("%s[%s] was throttled by its service, and waits at the head of its lane", task.name, task.request.id)
    return Throttled(refusal.retry_after_s)


def _spend(task: Task) -> str:
    """Why the retry budget of the task's service refuses; `""` if it does not."""
    turgor: Turgor | None = getattr(task.app, "turgor", None)
    request: Any = task.request
    return "" if turgor is None or request.is_eager else turgor.spend_retry(request.get("service"))


def _again(task: Task, error: Exception, countdown_s: float, trail: Trail) -> BaseException:
    request: Any = task.request
    headers: Mapping[str, Any] = {**(request.headers or {}), RETRY_HEADER: trail.header}
    try:
        return task.retry(exc=error, countdown=countdown_s, max_retries=inf, throw=False, headers=headers)
    except Reject as refused:
        # Celery would drop the task here, without a word to its caller.
        is_outage = isinstance(refused.reason, OperationalError)
        return Reject(refused.reason, requeue=True) if is_outage else refused.reason
    finally:
        vars(task).pop("override_max_retries", None)


def _gives_up(task: Task, error: Exception, reason: str) -> Exception:
    error.add_note(f"Turgor does not retry this task: {reason}")
    logger.warning("%s[%s] is not retried: %s", task.name, task.request.id, reason)
    return error
