"""Two Celery apps that differ in nothing but Turgor."""

from __future__ import annotations

from typing import Any, cast

from celery import Celery, Task

from turgor.worker import Turgor

QUEUE = "tasks"
SERVICE, NEIGHBOUR = "api", "neighbour"
# What a task notes from here on is the number of its release.
MARK = 1_000_000


def plain_app(broker: str) -> Celery:
    app = Celery("bench", broker=broker, set_as_current=False)
    app.conf.update(task_default_queue=QUEUE, broker_connection_retry_on_startup=True)
    return app


def limited_app(broker: str, limits: dict[str, Any], **options: Any) -> tuple[Celery, Turgor]:
    app = plain_app(broker)
    return app, Turgor(app, limits, **options)


def one_limit(per_minute: int) -> dict[str, Any]:
    """The tables of one limit, on one service."""
    return {"services": {SERVICE: {"requests_per_minute": per_minute}}}


def noop_of(app: Celery, **options: Any) -> Task[..., None]:
    """A task that does nothing."""

    def noop(number: int) -> None: ...

    return cast("Task[..., None]", app.task(name="bench.noop", shared=False, **options)(noop))
