"""An application whose tasks declare their retries. `crew.AppSettings` says how it is configured."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from celery import Celery, Task

from turgor.limits.httpx_transport import TurgorTransport
from turgor.worker import Turgor

SETTINGS = json.loads(os.environ["TURGOR_TEST_APP"])
TRANSIENT = (TimeoutError, ConnectionError)


class Noted(Task):
    """A task whose starts are in the journal."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        request: Any = self.request
        entry = {
            "event": "start", "task": self.name, "id": task_id, "args": list(args), "at": time.time(), "pid": os.getpid(),
            "retries": request.retries, "fence": request.get("turgor_fence"), "headers": request.headers or {},
            "queue": request.delivery_info["routing_key"], "root": request.root_id, "custom": request.get("tenant"),
            "forecast": None,
        }  # fmt: skip
        with Path(SETTINGS["journal"]).open("ab", buffering=0) as journal:
            journal.write((json.dumps(entry) + "\n").encode())


class Patient(Noted):
    """A base class that declares retries for all its tasks."""

    abstract = True
    retry_on = TRANSIENT
    retry_delay = "50ms"
    max_attempts = 3


app = Celery("retrier", broker=SETTINGS["broker"], backend=SETTINGS["backend"], task_cls=Noted)
app.conf.update(SETTINGS["conf"])
turgor = Turgor(app, SETTINGS["limits"], **SETTINGS["options"])
task = partial(app.task, shared=False)


def fail_at_first(self: Any, failures: int, kind: str) -> str:
    if self.request.retries < failures:
        raise {"timeout": TimeoutError, "value": ValueError, "key": KeyError}[kind](f"attempt {self.request.retries + 1}")
    return "done"


@task(bind=True, name="retrier.fragile", service="api", retry_on=TRANSIENT, retry_delay=0.05, max_delay=0.1, max_attempts=4)
def fragile(self: Any, failures: int, kind: str = "timeout") -> str:
    return fail_at_first(self, failures, kind)


@task(bind=True, name="retrier.free", retry_on=TRANSIENT, retry_delay=0.05, max_attempts=4)
def free(self: Any, failures: int, kind: str = "timeout") -> str:
    """No limit concerns it."""
    return fail_at_first(self, failures, kind)


@task(bind=True, base=Patient, name="retrier.based")
def based(self: Any, failures: int) -> str:
    return fail_at_first(self, failures, "timeout")


@task(bind=True, name="retrier.slow", service="api", retry_on=TimeoutError, retry_delay="300d", max_attempts=2)
def slow(self: Any) -> str:
    """Its retry waits for months."""
    return fail_at_first(self, 9, "timeout")


@task(name="retrier.hasty", service="api", retry_on=httpx.HTTPStatusError, retry_within="5s")
def hasty(url: str) -> str:
    httpx.get(url).raise_for_status()
    return "done"


@task(name="retrier.fetch", service="api", retry_on=httpx.HTTPStatusError, max_attempts=2)
def fetch(url: str) -> str:
    httpx.get(url).raise_for_status()
    return "done"


@task(name="retrier.fetch_free", retry_on=httpx.HTTPStatusError, max_attempts=2)
def fetch_free(url: str) -> str:
    """No limit concerns it."""
    httpx.get(url).raise_for_status()
    return "done"


@task(name="retrier.hooked", service="api")
def hooked(url: str, service: str = "api") -> str:
    """Says nothing of retries, and calls through a hook."""
    with httpx.Client(transport=TurgorTransport(turgor.limiter, service=service, timeout=5)) as client:
        client.get(url).raise_for_status()
    return "done"


@task(bind=True, name="retrier.celerys", autoretry_for=TRANSIENT, retry_backoff=100, retry_jitter=False, service="api")
def celerys(self: Any) -> str:
    return fail_at_first(self, 1, "timeout")


@task(bind=True, name="retrier.celerys_free", autoretry_for=TRANSIENT, retry_backoff=100, retry_jitter=False)
def celerys_free(self: Any) -> str:
    return fail_at_first(self, 1, "timeout")


@task(bind=True, name="retrier.budgeted", service="budgeted", retry_on=TRANSIENT, retry_delay=0.01, max_attempts=9)
def budgeted(self: Any, failures: int) -> str:
    return fail_at_first(self, failures, "timeout")
