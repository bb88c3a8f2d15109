"""Purging a queue: what waits for it goes as well as what lies in it.

`celery purge` empties the broker's queues through a channel of the app's connection. So the channels of an app with
Turgor purge what waits, too. A message that was released and lies in the queue is taken out together with its lease:
else the scheduler would miss it, take it for lost, and release it again.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

from kombu import Connection
from kombu.transport import redis
from kombu.transport.virtual import Channel

from ..scheduler.purge import purge_waiting
from ..scheduler.scheduler import Cancelled
from .envelope import FENCE_HEADER, task_key
from .leased_channel import LeasedChannel
from .withdrawal import withdraw

if TYPE_CHECKING:
    from .turgor import Turgor


def purge(turgor: Turgor, queue: str) -> int:
    """Discard the tasks that wait for `queue`, are delayed, or are released to it and not popped. Returns how many."""
    key = turgor.broker_key(queue)
    return purge_waiting(turgor.scheduler, key) + _purge_released(turgor, key)


def _purge_released(turgor: Turgor, key: str) -> int:
    sent = cast("list[bytes]", turgor.client.lrange(key, 0, -1))
    messages = [message for message in map(json.loads, sent) if message["headers"].get(FENCE_HEADER) is not None]
    taken = [withdraw(turgor, task_key(each["headers"]), each, revoked=False) for each in messages]
    return taken.count(Cancelled.CANCELLED)


class PurgingChannel(Channel):
    """A channel that purges what waits for a queue, too."""

    turgor: ClassVar[Turgor]

    def queue_purge(self, queue: str, **options: Any) -> int:
        return purge(self.turgor, queue) + (super().queue_purge(queue, **options) or 0)


class PurgingConnection(Connection):
    """A connection whose channels do so."""

    turgor: ClassVar[Turgor]

    def create_transport(self) -> Any:
        transport: Any = super().create_transport()
        if hasattr(transport, "Channel"):  # one of kombu's virtual transports, as that for Redis
            transport.Channel = _gated(transport.Channel, self.turgor)
        return transport


@cache
def _gated(base: type[Channel], turgor: Turgor) -> type[Channel]:
    leased = (LeasedChannel,) if turgor.lease_all and issubclass(base, redis.Channel) else ()
    return type(base.__name__, (*leased, PurgingChannel, base), {"turgor": turgor})
