"""A retry policy is what a task declares of its retries.

    @app.task(service="llm_api", retry_on=(TimeoutError, ConnectionError), max_attempts=8, max_delay="5m", retry_within="1h")
    def complete(prompt): ...

A base class may declare the same words for all its tasks. Words are checked when the task is declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from celery import Task
from celery.exceptions import Ignore, Reject, Retry

from ..limits.duration import parse_duration
from ..limits.limit import SECOND_US
from ..limits.quotation import closest, quote
from .backoff import Backoff
from .caller import OPTIONS
from .errors import InvalidRetry

RETRY_ON, RETRY_DELAY, MAX_DELAY, MAX_ATTEMPTS, RETRY_WITHIN = (
    "retry_on",
    "retry_delay",
    "max_delay",
    "max_attempts",
    "retry_within",
)
WORDS = (RETRY_ON, RETRY_DELAY, MAX_DELAY, MAX_ATTEMPTS, RETRY_WITHIN)
DEFAULT_DELAY_S = 1.0
_DEFAULT_BACKOFF = Backoff(DEFAULT_DELAY_S)
DEFAULT_ATTEMPTS = 5
_CELERYS_OWN = ("autoretry_for", "retry_backoff", "retry_kwargs")
_SIGNALS = (Ignore, Reject, Retry)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how often a task that failed runs again.

    Parameters
    ----------
    on:
        The exceptions that are worth another attempt.
    backoff:
        How long it waits.
    max_attempts:
        Attempts, the first one included; None for no end.
    within_s:
        Seconds from the first submit within which an attempt may still start; None for no end.
    """

    on: tuple[type[Exception], ...]
    backoff: Backoff = _DEFAULT_BACKOFF
    max_attempts: int | None = DEFAULT_ATTEMPTS
    within_s: float | None = None

    @classmethod
    def of(cls, task: Task) -> RetryPolicy | None:
        """What a task declares; None without `retry_on`. Raises `InvalidRetry`."""
        return cls._read(lambda name: getattr(task, name, None), task.name or type(task).__name__)

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> None:
        """Raise `InvalidRetry` unless what is declared makes sense. `options` are those of `@app.task`."""
        task = options.get("name") or ""
        base = options.get("base")
        policy = cls._read(lambda name: options[name] if name in options else getattr(base, name, None), task)
        if policy is not None:
            for name in options:
                meant = None if name in {*WORDS, *OPTIONS} or hasattr(Task, name) else closest(name, WORDS)
                if meant:
                    raise InvalidRetry(task, name, f"unknown option; did you mean {meant}?")

    @classmethod
    def _read(cls, declared: Callable[[str], Any], task: str) -> RetryPolicy | None:
        on = declared(RETRY_ON)
        if on is None:
            return None
        for name in _CELERYS_OWN:
            if declared(name):
                raise InvalidRetry(task, name, "is Celery's own way to retry; use it or retry_on, not both")
        if declared("max_retries") not in (None, Task.max_retries):
            raise InvalidRetry(
                task, "max_retries", "does not concern retry_on; use max_attempts, which counts the first attempt too"
            )
        first_s = _seconds(task, RETRY_DELAY, declared(RETRY_DELAY))
        max_s = _seconds(task, MAX_DELAY, declared(MAX_DELAY))
        if first_s is None:
            first_s = DEFAULT_DELAY_S if max_s is None else min(DEFAULT_DELAY_S, max_s)
        if max_s is not None and max_s < first_s:
            raise InvalidRetry(task, MAX_DELAY, f"{max_s:g} s is shorter than retry_delay = {first_s:g} s; use at least that")
        return cls(
            _exceptions(task, on),
            Backoff(first_s, max_s),
            _attempts(task, declared(MAX_ATTEMPTS)),
            _seconds(task, RETRY_WITHIN, declared(RETRY_WITHIN)),
        )


def _exceptions(task: str, value: object) -> tuple[type[Exception], ...]:
    listed = tuple(cast("Iterable[object]", value)) if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    for each in listed:
        if not isinstance(each, type) or not issubclass(each, Exception):
            shown = each.__name__ if isinstance(each, type) else quote(each)
            raise InvalidRetry(task, RETRY_ON, f"{shown} is no exception; use classes such as (TimeoutError, ConnectionError)")
        if issubclass(each, _SIGNALS):
            raise InvalidRetry(task, RETRY_ON, f"{each.__name__} is no failure; leave it out, it is always let through")
    if not listed:
        raise InvalidRetry(task, RETRY_ON, "names no exception; name some, or leave it out")
    return cast("tuple[type[Exception], ...]", listed)


def _attempts(task: str, value: object) -> int | None:
    """A whole number; `inf` for no end; by default a few."""
    if value is None:
        return DEFAULT_ATTEMPTS
    if value == float("inf"):
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidRetry(task, MAX_ATTEMPTS, f"{quote(value)} is not allowed; use a whole number of at least 1, or math.inf")
    return value


def _seconds(task: str, name: str, value: object) -> float | None:
    if value is None:
        return None
    try:
        return parse_duration(value) / SECOND_US
    except ValueError as error:
        raise InvalidRetry(task, name, str(error)) from None
