"""What a task declares of its retries is checked when it is declared, and each mistake names its remedy."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, Task
from celery.exceptions import Ignore, Retry

from turgor.worker import InvalidRetry, Throttled, Turgor
from turgor.worker.backoff import Backoff
from turgor.worker.retry_policy import RetryPolicy


@pytest.fixture
def app() -> Celery:
    app = Celery("proj", broker="redis://127.0.0.1:1/0", set_as_current=False)
    Turgor(app, {})
    return app


def declare(app: Celery, **options: Any) -> Any:
    @app.task(name="proj.t", shared=False, **options)
    def t() -> None:
        pass

    return t


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        ({}, None),
        ({"max_attempts": 3}, None),
        ({"retry_on": OSError}, RetryPolicy((OSError,), Backoff(1.0, None), 5, None)),
        ({"retry_on": [OSError, KeyError], "max_attempts": 1}, RetryPolicy((OSError, KeyError), Backoff(), 1)),
        ({"retry_on": (OSError,), "max_attempts": math.inf}, RetryPolicy((OSError,), Backoff(), None)),
        ({"retry_on": OSError, "max_delay": 0.5}, RetryPolicy((OSError,), Backoff(0.5, 0.5))),
        (
            {"retry_on": OSError, "retry_delay": "250ms", "max_delay": timedelta(minutes=5), "retry_within": 3_600},
            RetryPolicy((OSError,), Backoff(0.25, 300.0), 5, 3_600.0),
        ),
    ],
    ids=str,
)
def test_the_words_of_a_task_make_its_policy(app: Celery, options: dict[str, Any], policy: RetryPolicy | None) -> None:
    assert RetryPolicy.of(declare(app, **options)) == policy


def test_a_base_class_speaks_for_its_tasks_and_a_task_for_itself(app: Celery) -> None:
    class Patient(Task):
        abstract = True
        retry_on = (OSError,)
        max_attempts = 9

    assert RetryPolicy.of(declare(app, base=Patient, max_attempts=2)) == RetryPolicy((OSError,), Backoff(), 2)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"retry_on": "TimeoutError"},
            "retry_on: 'TimeoutError' is no exception; use classes such as (TimeoutError, ConnectionError)",
        ),
        (
            {"retry_on": OSError()},
            "retry_on: a Python OSError is no exception; use classes such as (TimeoutError, ConnectionError)",
        ),
        ({"retry_on": (OSError, int)}, "retry_on: int is no exception; use classes such as (TimeoutError, ConnectionError)"),
        (
            {"retry_on": KeyboardInterrupt},
            "retry_on: KeyboardInterrupt is no exception; use classes such as (TimeoutError, ConnectionError)",
        ),
        ({"retry_on": ()}, "retry_on: names no exception; name some, or leave it out"),
        ({"retry_on": Throttled}, "retry_on: Throttled is no failure; leave it out, it is always let through"),
        ({"retry_on": (Retry, Ignore)}, "retry_on: Retry is no failure; leave it out, it is always let through"),
        ({"max_attempts": 0}, "max_attempts: 0 is not allowed; use a whole number of at least 1, or math.inf"),
        ({"max_attempts": True}, "max_attempts: true is not allowed; use a whole number of at least 1, or math.inf"),
        ({"max_attempts": 2.5}, "max_attempts: 2.5 is not allowed; use a whole number of at least 1, or math.inf"),
        ({"max_delay": -1}, "max_delay: -1 is not allowed; use a duration from 1ms to 366d"),
        (
            {"retry_delay": "soon"},
            "retry_delay: 'soon' is not a duration; use one such as '10s' or '1m30s', or a number of seconds",
        ),
        ({"retry_within": 0}, "retry_within: 0 is not allowed; use a duration from 1ms to 366d"),
        ({"retry_delay": 60, "max_delay": 5}, "max_delay: 5 s is shorter than retry_delay = 60 s; use at least that"),
        ({"autoretry_for": (OSError,)}, "autoretry_for: is Celery's own way to retry; use it or retry_on, not both"),
        ({"retry_backoff": True}, "retry_backoff: is Celery's own way to retry; use it or retry_on, not both"),
        ({"max_retries": 9}, "max_retries: does not concern retry_on; use max_attempts, which counts the first attempt too"),
        ({"max_atempts": 9}, "max_atempts: unknown option; did you mean max_attempts?"),
        ({"max_deley": 9}, "max_deley: unknown option; did you mean max_delay?"),
    ],
    ids=str,
)
def test_a_mistake_is_refused_where_the_task_is_declared(app: Celery, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRetry) as caught:
        declare(app, **{"retry_on": OSError, **options})
    assert str(caught.value) == f"task 'proj.t': {problem}"


def test_a_mistake_in_a_class_or_a_base_is_refused_too(app: Celery) -> None:
    class Hasty(Task):
        name = "proj.hasty"
        retry_on = OSError
        max_attempts = 0

    with pytest.raises(InvalidRetry, match=r"task 'proj.t': max_attempts: 0 is not allowed"):
        declare(app, base=Hasty)
    with pytest.raises(InvalidRetry, match=r"task 'proj.hasty': max_attempts: 0 is not allowed"):
        app.register_task(Hasty())


def test_options_of_the_user_s_own_are_left_alone(app: Celery) -> None:
    assert declare(app, retry_on=OSError, tenant="a", tracked=True).tenant == "a"
