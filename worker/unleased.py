"""Messages without a fence, in an app whose every task runs under a lease.

Somebody published them past Turgor: a program that has the app without it, or with it and without `lease_all`. Nothing
would bring them back if their worker died, so they are not run. They are moved to a list in the realm, whole, and said aloud.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger
from kombu.utils.json import dumps

if TYPE_CHECKING:
    from .turgor import Turgor

logger = get_logger(__name__)


def refuse(turgor: Turgor, queue: str, payload: dict[str, Any]) -> None:
    """Move a message out of the way, and tell: an error in the log, a `task-rejected` event."""
    aside = turgor.keys("unleased")
    turgor.client.lpush(aside, dumps(payload))
    headers = payload.get("headers") or {}
    name, task_id = headers.get("task"), headers.get("id")
    logger.error(
        "Task %s[%s] came to queue %r without a fence and is not run: this app leases every task (lease_all), and whoever "
        "sent it does not. Its message is kept in the list %s; have the sender use Turgor(app, lease_all=True)",
        name, task_id, queue, aside,
    )  # fmt: skip
    if task_id:
        with turgor.app.events.default_dispatcher() as events:
            events.send("task-rejected", uuid=task_id, name=name)


def count(turgor: Turgor) -> int:
    """How many such messages are kept."""
    return turgor.client.llen(turgor.keys("unleased"))  # pyright: ignore[reportReturnType]
