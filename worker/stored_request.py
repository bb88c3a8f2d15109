"""The request of a message that the scheduler holds, as a worker would have had it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from celery.app.task import Context
from kombu.message import Message
from kombu.serialization import prepare_accept_content

from .envelope import fill

if TYPE_CHECKING:
    from celery import Celery


def request_of(app: Celery, template: bytes) -> Context:
    """Decode a template, arguments and embedded signatures included."""
    message: dict[str, Any] = json.loads(fill(template, "0", ""))
    headers, properties = message["headers"], message["properties"]
    args, kwargs, embedded = Message(
        body=base64.b64decode(message["body"]),
        content_type=message["content-type"],
        content_encoding=message["content-encoding"],
        headers=headers,
        accept=prepare_accept_content(app.conf.accept_content),
    ).payload
    return Context(
        headers,
        args=args,
        kwargs=kwargs,
        called_directly=False,
        reply_to=properties.get("reply_to"),
        correlation_id=properties.get("correlation_id"),
        delivery_info=properties["delivery_info"],
        **embedded,
    )
