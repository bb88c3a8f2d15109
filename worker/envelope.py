"""Builds the message that kombu's Redis transport would put on its list, with two holes in it.

The fence is in the headers and the delivery tag in the properties. Both must be new at every release,
so the scheduler stores the text with a NUL byte in either place (JSON has none) and fills them in.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from kombu.utils.json import dumps

from ..limits.keys import Keys
from ..limits.lua import Client
from ..scheduler.scheduler import HEADER_BYTES

FENCE_HEADER = "turgor_fence"
# Whoever runs the task holds the forecast of its start against the truth.
FORECAST_HEADER = "turgor_forecast"
_MARK = f"turgor-hole-{secrets.token_hex(8)}"
_FENCE_HOLE = f'"{_MARK}"'.encode()
_TAG_HOLE = f"{_MARK}-tag".encode()


def template(
    body: str | bytes,
    *,
    content_type: str,
    content_encoding: str,
    headers: dict[str, Any],
    properties: dict[str, Any],
    queue: str,
) -> bytes:
    """The envelope for `queue`, as `kombu.transport.virtual.Channel` makes it, holes included."""
    raw = body.encode() if isinstance(body, str) else body
    text: bytes = dumps(
        {
            "body": base64.b64encode(raw).decode(),
            "content-encoding": content_encoding,
            "content-type": content_type,
            "headers": {**headers, FENCE_HEADER: _MARK},
            "properties": {
                **properties,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "body_encoding": "base64",
                "delivery_tag": f"{_MARK}-tag",
            },
        }
    ).encode()
    return text.replace(_FENCE_HOLE, b"\0", 1).replace(_TAG_HOLE, b"\0", 1)


def fill(stored: bytes, fence: str, tag: str) -> bytes:
    """What a release makes of a template. The scripts do the same."""
    return stored.replace(b"\0", fence.encode(), 1).replace(b"\0", tag.encode(), 1)


def stored_messages(client: Client, keys: Keys, task_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The messages that the scheduler holds for a task: one for each attempt, the first one first."""
    for _, key, message in stored_attempts(client, keys, (task_id,)):
        yield key, message


def stored_attempt(client: Client, keys: Keys, key: str) -> dict[str, Any] | None:
    """The message of one attempt, if the scheduler holds it."""
    stored = cast("bytes | None", client.hget(keys("message"), key))
    return None if stored is None else _read(stored)


def stored_attempts(client: Client, keys: Keys, task_ids: Iterable[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(task's id, name of the attempt, message) of whatever the scheduler holds for these tasks.

    Of a task whose first attempt is not here, all others are looked for: one pass through what is stored, however
    many such tasks there are.
    """
    ids = list(dict.fromkeys(task_ids))
    stored = cast("list[bytes | None]", client.hmget(keys("message"), ids)) if ids else []
    absent = {task_id for task_id, message in zip(ids, stored, strict=True) if message is None}
    for task_id, message in zip(ids, stored, strict=True):
        if message is not None:
            yield task_id, task_id, _read(message)
    if not absent:
        return
    only = "".join(f"[{char}]" if char in "*?[" else char for char in min(absent)) if len(absent) == 1 else "*"
    for name, message in client.hscan_iter(keys("message"), f"{only}~*", count=1000):
        task_id = name.decode().rpartition("~")[0]
        if task_id in absent:
            yield task_id, name.decode(), _read(message)


def _read(stored: bytes) -> dict[str, Any]:
    return json.loads(fill(stored[HEADER_BYTES:], "0", ""))


def task_key(request: Mapping[str, Any]) -> str:
    """How the scheduler knows one attempt of a task: by its id, and by the number of the retry or replacement."""
    retries, nesting = request.get("retries") or 0, request.get("replaced_task_nesting") or 0
    return f"{request['id']}~{retries}.{nesting}" if retries or nesting else request["id"]
