"""The channels of a worker on the realm's own server, where a lease takes the place of kombu's acknowledgements.

kombu writes each message that a worker has into the hash `unacked` before the worker sees it, and takes it out when it
is acknowledged, so that somebody may put it back if the worker dies. A lease does that better: it is open since the
release, so no moment lies between the pop and the record; and what lapses comes back after `lease_s`, not after the
visibility timeout. So these channels keep what is leased in memory only. Where every task is leased, `Turgor(app,
lease_all=True)`, they also take several messages at a time.

Whatever has no lease (tasks that no limit concerns, replies, events, messages of a consumer of the user's own) is acknowledged as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from celery.utils.log import get_logger
from kombu.transport import redis, virtual
from kombu.utils.json import dumps, loads

from ..limits.server import UNAVAILABLE
from .envelope import FENCE_HEADER
from .unleased import refuse

if TYPE_CHECKING:
    from .turgor import Turgor

_MOST_AT_ONCE = 16
logger = get_logger(__name__)


class LeasedQoS(redis.QoS):
    """Acknowledges what is leased without telling the server; the end of a task is reported by its lease."""

    channel: Any
    _delivered: Any
    _is_emulating = True

    def append(self, message: Any, delivery_tag: str) -> None:
        if _is_leased(message.headers):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            self._is_emulating = True
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        if self._holds_leased(delivery_tag):
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self._holds_leased(delivery_tag):
            super().reject(delivery_tag, requeue)
            return
        if requeue:
            self._give_back([self._delivered[delivery_tag]])
        virtual.QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Give back what the worker has and did not begin. A message whose task has begun is stale, and dropped."""
        leased = [tag for tag in self._delivered if self._holds_leased(tag)]
        self._give_back([self._delivered.pop(tag) for tag in leased])
        super().restore_unacked(client)

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """The sweep of kombu through `unacked`, where anything may be."""
        if self._is_emulating:
            super().restore_visible(*args, **options)

    def _holds_leased(self, delivery_tag: str) -> bool:
        message = self._delivered.get(delivery_tag)
        return message is not None and _is_leased(message.headers)

    def _give_back(self, messages: list[Any]) -> None:
        """To where the next pop takes them, in their order."""
        turgor: Turgor = self.channel.turgor
        try:
            with turgor.client.pipeline(transaction=False) as pipe:
                for message in reversed(messages):
                    pipe.rpush(turgor.broker_key(message.delivery_info["routing_key"]), dumps(message._raw))
                pipe.execute()
        except UNAVAILABLE as error:
            logger.warning("%d messages are not given back, their leases will lapse: %s", len(messages), error)


class QuietQoS(LeasedQoS):
    """The same where every task is leased: nothing is swept unless this channel has written something without a lease."""

    _is_emulating = False


class LeasedChannel:
    """What makes one of kombu's Redis channels leave the acknowledgements of leased messages to the leases.

    Where the broker is not the realm's own server, all are acknowledged as ever.
    """

    turgor: ClassVar[Turgor]
    QoS: type[redis.QoS] = LeasedQoS

    def __init__(self, *args: Any, **options: Any) -> None:
        if self.turgor.broker.is_elsewhere:
            self.QoS = redis.QoS
        super().__init__(*args, **options)


class AllLeasedChannel(LeasedChannel):
    """The same where every task is leased, so that several may be taken at a time, and one without a lease is refused."""

    QoS: type[redis.QoS] = QuietQoS

    connection: Any
    qos: Any
    active_fanout_queues: set[str]

    def basic_consume(self, queue: str, *args: Any, **options: Any) -> Any:
        tag = cast("Any", super()).basic_consume(queue, *args, **options)
        if queue in self.turgor.app.amqp.queues and queue not in self.active_fanout_queues:
            deliver: dict[str, Callable[[Any], Any]] = self.connection._callbacks
            deliver[queue] = partial(self._take_in, queue, deliver[queue])
        return tag

    def _take_in(self, queue: str, deliver: Callable[[Any], Any], first: Any) -> None:
        for payload in self._and_followers(queue, first):
            if _is_leased(payload.get("headers")):
                deliver(payload)
            else:
                refuse(self.turgor, queue, payload)

    def _and_followers(self, queue: str, first: Any) -> Iterator[Any]:
        """The message that came, and those behind it that there is room for. Leases look after them if this process dies."""
        yield first
        room = self.qos.can_consume_max_estimate()
        most = _MOST_AT_ONCE if room is None else min(room, _MOST_AT_ONCE)
        if most > 0:
            yield from map(loads, self._pop_more(queue, most))

    def _pop_more(self, queue: str, most: int) -> Iterable[bytes]:
        try:
            return cast("list[bytes] | None", self.turgor.client.rpop(self.turgor.broker_key(queue), most)) or ()
        except UNAVAILABLE as error:
            logger.warning("Redis is out of reach: %s", error)
            return ()


def _is_leased(headers: Any) -> bool:
    return bool(headers) and headers.get(FENCE_HEADER) is not None
