"""Purging a queue: what waits for it goes as well as what lies in it.

`celery purge` empties the broker's queues through a channel of the app's connection. So the channels of an app with
Turgor purge what waits, too. A message that was released and lies in the queue is taken out together with its lease:
else the scheduler would miss it, take it for lost, and release it again.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

from amqp.exceptions import ChannelError
from kombu import Connection
from kombu.transport import redis

from ..scheduler.purge import purge_waiting
from ..scheduler.scheduler import Cancelled
from ..scheduler.search import in_flight
from .delivery import is_not_found
from .envelope import FENCE_HEADER, stored_attempt, task_key
from .leased_channel import AllLeasedChannel, LeasedChannel
from .withdrawal import withdraw

if TYPE_CHECKING:
    from .turgor import Turgor


def purge(turgor: Turgor, queue: str) -> int:
    """Discard the tasks that wait for `queue`, are delayed, or are released to it and not popped. Returns how many.

    Of a broker elsewhere, messages that it has are not counted: who purges it counts them.
    """
    key = turgor.broker_key(queue)
    released = _purge_unclaimed if turgor.broker.is_elsewhere else _purge_released
    return purge_waiting(turgor.scheduler, key) + released(turgor, key)


def _purge_released(turgor: Turgor, key: str) -> int:
    sent = cast("list[bytes]", turgor.client.lrange(key, 0, -1))
    messages = [message for message in map(json.loads, sent) if message["headers"].get(FENCE_HEADER) is not None]
    taken = [withdraw(turgor, task_key(each["headers"]), each, revoked=False) for each in messages]
    return taken.count(Cancelled.CANCELLED)


def _purge_unclaimed(turgor: Turgor, key: str) -> int:
    """Nobody can tell what a broker elsewhere has given to workers: that is discarded too, if it is not begun."""
    unpublished = turgor.outbox.tasks()
    tasks = [task for task, claimant, lane in in_flight(turgor.scheduler) if lane.queue == key and not claimant]
    held = [(task, message) for task in tasks if (message := stored_attempt(turgor.client, turgor.keys, task))]
    taken = [task for task, message in held if withdraw(turgor, task, message, revoked=False) is Cancelled.CANCELLED]
    return len(unpublished & set(taken))


class PurgingChannel:
    """What makes a channel purge what waits for a queue, too."""

    turgor: ClassVar[Turgor]

    def queue_purge(self, queue: str = "", *args: Any, **options: Any) -> int:
        discarded = purge(self.turgor, queue)
        try:
            return discarded + (cast("Any", super()).queue_purge(queue, *args, **options) or 0)
        except ChannelError as error:
            if not discarded or not is_not_found(error):
                raise
            return discarded


class PurgingConnection(Connection):
    """A connection whose channels do so."""

    turgor: ClassVar[Turgor]

    def create_transport(self) -> Any:
        transport: Any = super().create_transport()
        if hasattr(transport, "Channel"):  # one of kombu's virtual transports, as that for Redis
            transport.Channel = _gated(transport.Channel, self.turgor)
        elif hasattr(getattr(transport, "Connection", None), "Channel"):  # that for RabbitMQ
            base = transport.Connection
            transport.Connection = type(base.__name__, (base,), {"Channel": _gated(base.Channel, self.turgor)})
        return transport


@cache
def _gated(base: type[Any], turgor: Turgor) -> type[Any]:
    mixins: tuple[type[Any], ...] = (PurgingChannel,)
    if issubclass(base, redis.Channel):
        mixins = (AllLeasedChannel if turgor.lease_all else LeasedChannel, PurgingChannel)
    return type(base.__name__, (*mixins, base), {"turgor": turgor})
