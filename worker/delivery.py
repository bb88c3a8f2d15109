"""Brings releases to a broker elsewhere, over one connection, and returns when the broker has confirmed them.

A release comes as kombu's Redis transport writes it. Onto a Redis it is pushed as it is, many in one command, whose
reply is the confirmation. For RabbitMQ it becomes body, headers and properties again: many are published before the
first of RabbitMQ's confirms is waited for. Any other transport publishes one by one, and what it raises tells.

A release goes straight to its queue, by the default exchange: that it goes to just this one was made sure when it was
submitted.
"""

from __future__ import annotations

import base64
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

from amqp.exceptions import ChannelError, MessageNacked
from kombu.exceptions import OperationalError
from kombu.utils.json import loads

from .envelope import FENCE_HEADER

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

    from ..scheduler.outbox import Release

CONFIRM_WITHIN_S = 5.0
_CONNECT_ATTEMPTS = 1
_NOT_FOUND = "404"
Refusal = tuple["Release", Exception]


def is_not_found(error: ChannelError) -> bool:
    """Whether there is no such queue. Kombu's own transports give the code as text."""
    return str(error.reply_code) == _NOT_FOUND


class Delivery(ABC):
    """One connection to the broker. It is for one thread.

    Parameters
    ----------
    app:
        The Celery app.
    connection:
        Connected, and the delivery's own from now on.
    """

    def __init__(self, app: Celery, connection: Connection) -> None:
        self._app, self._connection = app, connection

    @abstractmethod
    def publish(self, releases: Sequence[Release]) -> list[Refusal]:
        """Publish these, in their order. Returns those that the broker refused, with its reasons.

        Raises what `broken_by` knows when the connection breaks: nobody can tell then which have arrived.
        """

    @property
    def broken_by(self) -> tuple[type[Exception], ...]:
        """What is raised when the connection is of no use any more."""
        return (OperationalError, OSError, *self._errors_of_connection, *self.refused_by)

    @property
    def refused_by(self) -> tuple[type[Exception], ...]:
        """Those of them that tell of a message, and not of the broker."""
        return cast("tuple[type[Exception], ...]", self._connection.channel_errors)

    @property
    def _errors_of_connection(self) -> tuple[type[Exception], ...]:
        return cast("tuple[type[Exception], ...]", self._connection.connection_errors)

    def is_empty(self, queue: str) -> bool:
        """Whether no message lies in the queue that no worker has been given."""
        with self._connection.channel() as channel:
            try:
                return channel.queue_declare(queue, passive=True).message_count == 0
            except ChannelError as error:
                if not is_not_found(error):
                    raise
                return True

    def close(self) -> None:
        self._connection.close()

    def _declare(self, queue: str, channel: Any) -> None:
        self._app.amqp.queues[queue](channel).declare()


def connect(app: Celery) -> Delivery:
    """Connect to the app's broker. Raises `OperationalError` if it does not answer."""
    connection = app.connection_for_write(heartbeat=0)
    connection.ensure_connection(max_retries=_CONNECT_ATTEMPTS, interval_start=0.1, timeout=CONFIRM_WITHIN_S)
    transport = connection.transport
    if transport.driver_type == "redis":
        return _RedisDelivery(app, connection)
    if transport.driver_name == "py-amqp":
        return _AmqpDelivery(app, connection)
    return _AnyDelivery(app, connection)


class _RedisDelivery(Delivery):
    def publish(self, releases: Sequence[Release]) -> list[Refusal]:
        client = self._connection.default_channel.client
        for queue, group in groupby(releases, key=lambda each: each.queue):
            client.lpush(queue, *(each.envelope for each in group))
        return []


class _AmqpDelivery(Delivery):
    def __init__(self, app: Celery, connection: Connection) -> None:
        super().__init__(app, connection)
        self._channel: Any = connection.channel()
        self._channel.confirm_select()
        for event, listener in (("basic_ack", self._on_ack), ("basic_nack", self._on_nack), ("basic_return", self._on_return)):
            self._channel.events[event].add(listener)
        self._published = 0
        self._unconfirmed: dict[int, Release] = {}
        self._refused: dict[int, Exception] = {}

    def publish(self, releases: Sequence[Release]) -> list[Refusal]:
        refused = self._publish(releases)
        unroutable = [each for each, error in refused if isinstance(error, ChannelError)]
        if not unroutable:
            return refused
        for queue in {each.queue for each in unroutable}:
            self._declare(queue, self._channel)
        return [refusal for refusal in refused if refusal[0] not in unroutable] + self._publish(unroutable)

    def _publish(self, releases: Sequence[Release]) -> list[Refusal]:
        self._refused.clear()
        for each in releases:
            body, content, headers, properties = _parts_of(each)
            priority = properties.pop("priority", None)
            message = self._channel.prepare_message(body, priority, headers=headers, properties=properties, **content)
            try:
                # Not `basic_publish`: with the app's own `confirm_publish` that one waits for each.
                self._channel._basic_publish(message, "", each.queue, mandatory=True, timeout=CONFIRM_WITHIN_S)
            except self.broken_by:
                raise
            except Exception as error:  # noqa: BLE001  what AMQP cannot write, such as a header of 100 bits, is not sent
                self._refused[each.fence] = error
            else:
                self._published += 1
                self._unconfirmed[self._published] = each
        give_up_at = time.monotonic() + CONFIRM_WITHIN_S
        while self._unconfirmed:
            self._connection.drain_events(timeout=max(0.001, give_up_at - time.monotonic()))
        return [(each, self._refused[each.fence]) for each in releases if each.fence in self._refused]

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for _ in self._confirmed(tag, multiple=multiple):
            pass

    def _on_nack(self, tag: int, multiple: bool) -> None:
        for each in self._confirmed(tag, multiple=multiple):
            self._refused[each.fence] = MessageNacked()

    def _on_return(self, error: Exception, _exchange: str, _queue: str, message: Any) -> None:
        self._refused[message.headers[FENCE_HEADER]] = error

    def _confirmed(self, tag: int, *, multiple: bool) -> Iterator[Release]:
        tags = [each for each in self._unconfirmed if each <= tag] if multiple else [tag]
        for each in tags:
            if (release := self._unconfirmed.pop(each, None)) is not None:
                yield release


class _AnyDelivery(Delivery):
    def publish(self, releases: Sequence[Release]) -> list[Refusal]:
        refused: list[Refusal] = []
        producer = self._connection.Producer(self._connection)
        for each in releases:
            body, content, headers, properties = _parts_of(each)
            if (expiration := properties.pop("expiration", None)) is not None:
                properties["expiration"] = int(expiration) / 1000
            queue = self._app.amqp.queues[each.queue]
            try:
                producer.publish(
                    body, exchange="", routing_key=each.queue, declare=[queue], headers=headers, **content, **properties
                )
            except self.broken_by:
                raise
            except Exception as error:  # noqa: BLE001  whatever it is, the others are to be published
                refused.append((each, error))
        return refused


def _parts_of(release: Release) -> tuple[bytes, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The body, what it is, the headers and the properties of a message."""
    message: dict[str, Any] = loads(release.envelope)
    properties = message["properties"]
    for name in ("delivery_info", "delivery_tag", "body_encoding"):
        del properties[name]
    content = {"content_type": message["content-type"], "content_encoding": message["content-encoding"]}
    return base64.b64decode(message["body"]), content, message["headers"], properties
