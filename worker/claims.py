"""Claims a released task just before its user code runs, and reports when it has ended.

The guard stands around Celery's tracer, so it holds in every pool and before anything of the task is
visible: a duplicate that it drops leaves no event, no STARTED state and no result.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from socket import gethostname
from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionInfo
from celery import Task, states
from celery.app.trace import TraceInfo, build_tracer, trace_ok_t
from celery.exceptions import Ignore
from celery.utils.log import get_logger

from ..limits.outcome import Outcome
from ..limits.server import UNAVAILABLE
from .envelope import FENCE_HEADER, FORECAST_HEADER, task_key
from .outcome import outcome_of
from .retrying import retry_as_declared
from .running_task import current
from .throttled import fail_unclosable, throttled_in

if TYPE_CHECKING:
    from celery import Celery

    from ..limits.outcome import Outcome
    from ..scheduler.scheduler import Scheduler
    from .turgor import Turgor

Tracer = Callable[..., Any]
_RETRY_EVERY_S = 0.5
_LATE_S = 0.02
_MOST_CLAIMS = 5
_CLAIMANT_BYTES = 16
logger = get_logger(__name__)


class GuardedTracer:
    """`__trace__` of a task's class. Celery builds tracers anew whenever a consumer or a pool process starts: each is guarded."""

    def __get__(self, task: Task | None, owner: type | None = None) -> Tracer | None:
        return None if task is None else vars(task).get("__trace__")

    def __set__(self, task: Task, tracer: Tracer) -> None:
        turgor = getattr(task.app, "turgor", None)
        vars(task)["__trace__"] = tracer if turgor is None else guard(tracer, task, turgor)


def guard_tasks(app: Celery) -> None:
    """Guard whatever tracers the app's tasks have and will get. Once is enough; twice changes nothing."""
    for task in app.tasks.values():
        cls: Any = type(task)
        is_late = retry_as_declared(task)
        if isinstance(vars(cls).get("__trace__"), GuardedTracer):
            continue
        built = task.__trace__
        if is_late and built is not None:
            built = build_tracer(task.name, task, app.loader, gethostname(), app=app)
        cls.__trace__ = GuardedTracer()
        if built is not None:
            task.__trace__ = built


def guard(tracer: Tracer, task: Task, turgor: Turgor) -> Tracer:
    """A tracer that runs only what it can claim. Tasks without a fence pass untouched."""
    scheduler = turgor.scheduler

    def trace_task(uuid: str, args: Any, kwargs: Any, request: dict[str, Any] | None = None) -> Any:
        fence = (request or {}).get(FENCE_HEADER)
        if request is None or fence is None:
            outcome = tracer(uuid, args, kwargs, request)
            throttled = throttled_in(outcome)
            return fail_unclosable(task, args, kwargs, request, throttled) if throttled else outcome
        key = task_key(request)
        if not claim(scheduler, key, fence):
            logger.warning("Task %s[%s] is a stale copy: dropped", task.name, uuid)
            return _ignored("a stale copy of the message")
        started_at = time.monotonic()
        traced = tracer(uuid, args, kwargs, request)
        if request.get(FORECAST_HEADER):
            judge_forecast(turgor, key, time.monotonic() - started_at)
        _insist(scheduler, lambda: current.say(scheduler, key, fence, task.name))
        current.forget(key, fence)
        throttled = throttled_in(traced)
        if throttled:
            try:
                _insist(scheduler, lambda: scheduler.throttle(key, fence, throttled.retry_after_s))
            except ValueError:  # the task calls no service
                traced = fail_unclosable(task, args, kwargs, request, throttled)
            else:
                return traced
        if _is_requeued(traced):
            _insist(scheduler, lambda: scheduler.put_back(key, fence))
        else:
            _insist(scheduler, lambda: finish(turgor, key, fence, request.get("service"), outcome_of(traced[1])))
        return traced

    return trace_task


def claim(scheduler: Scheduler, task: str, fence: int) -> bool:
    """Whether this execution may run; False also if no server answered for as long as a release may stay unclaimed.

    A start counts from the time of the claim. Where the answer took long to arrive, that time is past, and the claim
    is made anew, so that a slow machine or a lost connection cannot make a window count too early.
    """
    claimant = os.urandom(_CLAIMANT_BYTES).hex()
    for _ in range(_MOST_CLAIMS):
        asked_at = time.monotonic()
        if not _insist(scheduler, lambda: scheduler.claim(task, fence, claimant)):
            return False
        if time.monotonic() - asked_at <= _LATE_S:
            break
    return True


def judge_forecast(turgor: Turgor, task: str, started_s_ago: float) -> None:
    """Hold the forecast of a start against the truth; nothing is lost but that if Redis is out of reach."""
    try:
        turgor.forecasts.judge(task, started_s_ago)
    except UNAVAILABLE as error:
        logger.warning("Redis is out of reach, the forecast of %s is not judged: %s", task, error)


def finish(turgor: Turgor, task: str, fence: int, service: str | None, outcome: Outcome) -> bool:
    """End a released task; its service hears of it where it counts outcomes."""
    return turgor.scheduler.finish(task, fence, outcome, counted=turgor.counts_outcomes(service))


def _insist(scheduler: Scheduler, ask: Callable[[], bool]) -> bool | None:
    """Ask until the server answers. Giving up is safe: the lease lapses and the task comes back."""
    give_up_at = time.monotonic() + scheduler.claim_within_s
    while True:
        try:
            return ask()
        except UNAVAILABLE as error:
            if time.monotonic() >= give_up_at:
                logger.error("No answer from Redis for %.0f s: %s", scheduler.claim_within_s, error)
                return None
            time.sleep(_RETRY_EVERY_S)


def _is_requeued(traced: Any) -> bool:
    info = traced[1]
    return info is not None and info.state == states.REJECTED and bool(getattr(info.retval, "requeue", False))


def _ignored(reason: str) -> Any:
    try:
        raise Ignore(reason)
    except Ignore as error:
        return trace_ok_t(ExceptionInfo(internal=True), TraceInfo(states.IGNORED, error), 0.0, None)
