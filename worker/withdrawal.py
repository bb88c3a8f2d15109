"""Takes one attempt of a task out that no worker has yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..scheduler.scheduler import Cancelled
from .caller import Call

if TYPE_CHECKING:
    from .turgor import Turgor


def withdraw(turgor: Turgor, key: str, message: dict[str, Any], *, revoked: bool) -> Cancelled:
    """Withdraw the attempt `key`, of which this is the message; see `Scheduler.withdraw`."""
    queue = turgor.broker_key(message["properties"]["delivery_info"]["routing_key"])
    call = Call.from_headers(message["headers"])
    for limited in (True, False):
        done = turgor.scheduler.withdraw(
            key, call.lane(queue, limited=limited), weight=call.weight, tokens=call.tokens or 0, revoked=revoked
        )
        if done is not Cancelled.UNKNOWN:
            return done
    return Cancelled.UNKNOWN
