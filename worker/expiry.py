"""Tells the caller of a task that waited too long: the result backend holds `WaitTimeout`, errbacks run."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from celery.app.task import Context
from kombu.message import Message
from kombu.serialization import prepare_accept_content

from .envelope import fill
from .errors import WaitTimeout

if TYPE_CHECKING:
    from celery import Celery

    from ..scheduler.scheduler import ExpiredTask


def fail_expired(app: Celery, expired: ExpiredTask) -> None:
    """Record the failure as a worker would have done."""
    message: dict[str, Any] = json.loads(fill(expired.template, "0", ""))
    headers, properties = message["headers"], message["properties"]
    args, kwargs, embedded = Message(
        body=base64.b64decode(message["body"]),
        content_type=message["content-type"],
        content_encoding=message["content-encoding"],
        headers=headers,
        accept=prepare_accept_content(app.conf.accept_content),
    ).payload
    request = Context(
        headers,
        args=args,
        kwargs=kwargs,
        called_directly=False,
        reply_to=properties.get("reply_to"),
        correlation_id=properties.get("correlation_id"),
        delivery_info=properties["delivery_info"],
        **embedded,
    )
    error = WaitTimeout(headers["task"], headers.get("max_wait"), expired.held_by)
    app.backend.mark_as_failure(headers["id"], error, request=request, store_result=not headers.get("ignore_result"))
