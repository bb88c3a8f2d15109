"""Revoking and purging reach what no worker has yet.

Celery's `revoke` tells the workers, and `purge` empties the broker's queues. Work that waits is with neither. So an
app with Turgor has a control of its own: it takes revoked tasks out of the scheduler first, whoever asks and whether
a worker lives or not, and then goes on as Celery's does, because a worker may have the task already. No moment lies
between the two: taking a task out is one atomic step, and what it comes too late for was released before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery.app.control import Control
from celery.utils.log import get_logger
from kombu.utils.imports import symbol_by_name

from ..scheduler.scheduler import Cancelled
from .envelope import stored_attempts
from .expiry import tell
from .purge import purge
from .withdrawal import withdraw

if TYPE_CHECKING:
    from celery import Celery

    from .turgor import Turgor

_REVOKE, _TERMINATE = "revoke", "terminate"
_NODE = "turgor"
logger = get_logger(__name__)


class GateControl(Control):
    """`app.control` of an app with Turgor."""

    def broadcast(self, command: str, arguments: dict[str, Any] | None = None, destination: Any = None, **options: Any) -> Any:
        """Celery's `broadcast`. What it revokes is taken out of the scheduler as well, unless certain workers are addressed."""
        everywhere = destination is None and not options.get("pattern")
        revoked: list[str] = []
        if command in (_REVOKE, _TERMINATE) and everywhere and arguments:
            revoked = revoke(self.app.amqp.app.turgor, _as_ids(arguments.get("task_id")))
        replies = super().broadcast(command, arguments, destination, **options)
        if not revoked or not options.get("reply"):
            return replies
        own = {_NODE: {"ok": f"tasks {sorted(revoked)} revoked while they waited"}}
        if callback := options.get("callback"):
            callback(own)
        return [own, *(replies or [])]

    def purge(self, connection: Any = None) -> int:
        """Celery's `purge`, and the tasks that wait for these queues or are delayed. Returns how many were discarded."""
        turgor = self.app.amqp.app.turgor
        waiting = sum(purge(turgor, queue) for queue in list(self.app.amqp.queues.consume_from))
        return waiting + super().purge(connection)

    discard_all = purge


@dataclass(frozen=True)
class GatedControl:
    """Makes `app.control`. Goes with the app into a pool process that is spawned.

    Parameters
    ----------
    base:
        The control class that the app had.
    """

    base: Any

    def __call__(self, app: Celery) -> Control:
        return type("GateControl", (GateControl, symbol_by_name(self.base)), {})(app)


def revoke(turgor: Turgor, task_ids: Iterable[str]) -> list[str]:
    """Take tasks out that no worker has, and tell their callers. Returns the ids of those that were taken out."""
    found = stored_attempts(turgor.client, turgor.keys, task_ids)
    return [task_id for task_id, key, message in found if _revoke(turgor, key, message)]


def _revoke(turgor: Turgor, key: str, message: dict[str, Any]) -> bool:
    if withdraw(turgor, key, message, revoked=True) is not Cancelled.CANCELLED:
        return False
    _tell(turgor, key)
    return True


def _tell(turgor: Turgor, key: str) -> None:
    if expired := turgor.scheduler.expired_one(key):
        try:
            tell(turgor.app, expired)
        except Exception:  # the task is out; a dispatcher tells later
            logger.exception("Task %s is revoked, and its caller could not be told yet", key)
        else:
            turgor.scheduler.settle(key)


def _as_ids(task_id: Any) -> list[str]:
    if task_id is None:
        return []
    return [task_id] if isinstance(task_id, str) else list(task_id)
