"""Brokers that are not where Turgor works: another Redis, or RabbitMQ, seen as any other of their clients sees them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from amqp.exceptions import ChannelError
from kombu import Connection

RABBITMQ = pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)
BROKERS = ("same redis", "another redis", RABBITMQ)


def in_each_pool_and_on_rabbitmq(*pools: str) -> pytest.MarkDecorator:
    """Run the test in each of these pools on the same Redis, and in the last one on RabbitMQ."""
    cases = [*(("same redis", pool) for pool in pools), pytest.param("rabbitmq", pools[-1], marks=pytest.mark.rabbitmq)]
    return pytest.mark.parametrize(("broker_kind", "pool"), cases, indirect=["broker_kind"])


def each_broker(*kinds: Any) -> pytest.MarkDecorator:
    """Run the test with each of these, or all kinds of brokers."""
    return pytest.mark.parametrize("broker_kind", kinds or BROKERS, indirect=True)


@dataclass(frozen=True, slots=True)
class BrokerQueue:
    """A queue of a broker."""

    url: str
    name: str = "celery"

    @contextmanager
    def _channel(self) -> Generator[Any]:
        with Connection(self.url) as connection, connection.channel() as channel:
            yield channel

    @property
    def size(self) -> int:
        """Messages that no worker has been given."""
        with self._channel() as channel:
            try:
                size: int = channel.queue_declare(self.name, passive=True).message_count
            except ChannelError as error:
                if str(error.reply_code) != "404":
                    raise
                return 0
            return size

    def pop(self) -> Any:
        """The next message, or None. It leaves the broker, as if whoever has got it died at once."""
        with self._channel() as channel:
            message = channel.basic_get(self.name, no_ack=True)
            return message if message is None or hasattr(message, "decode") else channel.message_to_python(message)

    def push(self, message: Any) -> None:
        """Publish a copy."""
        with Connection(self.url) as connection:
            connection.Producer().publish(
                message.body,
                exchange="",
                routing_key=self.name,
                headers=message.headers,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                correlation_id=message.properties["correlation_id"],
            )

    def purge(self) -> None:
        if self.size:
            with self._channel() as channel:
                channel.queue_purge(self.name)

    def delete(self) -> None:
        """Kombu remembers what it has declared: afterwards this process publishes to this queue no more."""
        with self._channel() as channel:
            channel.queue_delete(self.name)


def fence_of(message: Any) -> int:
    """The fence that a message carries."""
    fence: int = message.headers["turgor_fence"]
    return fence
