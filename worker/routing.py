"""To which one queue a limited task goes.

The broker that kombu keeps in Redis is asked. Of a broker elsewhere the app's own queues tell: it may be out of reach,
and a submit does not need it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kombu import Queue
from kombu.transport.virtual.exchange import TopicExchange

from .errors import UnroutableTask

if TYPE_CHECKING:
    from kombu import Producer

    from .batch import Batch
    from .turgor import Turgor

# Celery sends tasks with an ETA for quorum queues to an exchange of its own, with the countdown in the routing key.
_DELAYED = re.compile(r"(?:.+_)?celery_delayed_\d+")
_COUNTDOWN = re.compile(r"(?:[01]\.){28}")


def target_queue(turgor: Turgor, producer: Producer | Batch, exchange: str, routing_key: str, declare: Sequence[Any]) -> str:
    """The one queue that the broker would route the message to.

    Raises
    ------
    UnroutableTask
        There is none, or there are several.
    """
    if not exchange:
        return routing_key
    if turgor.broker.is_elsewhere:
        queues = _among_the_apps(turgor, exchange, routing_key, declare)
    else:
        queues = _at_the_broker(producer, exchange, routing_key, declare)
    if len(queues) != 1:
        raise UnroutableTask(exchange, routing_key, queues)
    return queues[0]


def _at_the_broker(producer: Any, exchange: str, routing_key: str, declare: Sequence[Any]) -> list[str]:
    for entity in declare:
        producer.maybe_declare(entity)
    channel = producer.channel
    return [] if channel.typeof(exchange).type == "fanout" else sorted(channel._lookup(exchange, routing_key))


def _among_the_apps(turgor: Turgor, exchange: str, routing_key: str, declare: Sequence[Any]) -> list[str]:
    is_delayed = _DELAYED.fullmatch(exchange) is not None
    if is_delayed:
        routing_key = _COUNTDOWN.sub("", routing_key, count=1)
    known = {queue.name: queue for queue in (*turgor.app.amqp.queues.values(), *declare) if isinstance(queue, Queue)}
    return sorted(
        name
        for name, queue in known.items()
        if any(
            (is_delayed or at.name == exchange) and at.type != "fanout" and _matches(at.type, key, routing_key)
            for at, key in _bindings(queue)
        )
    )


def _bindings(queue: Queue) -> Iterator[tuple[Any, str]]:
    yield queue.exchange, queue.routing_key or ""
    for each in queue.bindings:
        yield each.exchange, each.routing_key or ""


def _matches(kind: str, key: str, routing_key: str) -> bool:
    if kind == "topic":
        topic = TopicExchange(None)
        return topic._match(topic.key_to_pattern(key), routing_key) is not None
    return key == routing_key
