"""Messages as Celery makes them, for the benchmarks that start at the scheduler."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from celery import Celery
from kombu.serialization import dumps

from turgor.worker.envelope import fill, template

QUEUE = "tasks"


def sample(payload: int = 0) -> tuple[bytes, bytes]:
    """A task with `payload` characters for its argument, as the scheduler stores it: an envelope with two holes; and its id."""
    app, task_id = Celery(set_as_current=False), str(uuid4())
    message: Any = app.amqp.as_task_v2(task_id, "proj.tasks.complete", args=("x" * payload,))
    content_type, encoding, body = dumps(message.body, serializer="json")
    stored = template(
        body,
        content_type=content_type,
        content_encoding=encoding,
        headers=message.headers,
        properties={**message.properties, "delivery_mode": 2, "priority": 5},
        queue=QUEUE,
    )
    return stored, task_id.encode()


def envelope(stored: bytes) -> bytes:
    """The same as it lies in the broker's list."""
    return fill(stored, "1", str(uuid4()))
