"""Where the app's messages go, and where Turgor keeps its work.

If that is one server and database, a release pushes its message onto the broker's list itself. Any other broker is
elsewhere: a release goes to the outbox, and is published from there.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from kombu import Connection
from redis.connection import parse_url

from ..limits.server import connect, without_password
from .errors import InvalidBrokerUrl, InvalidRedisUrl, UnsupportedBroker

if TYPE_CHECKING:
    from celery import Celery

    from ..limits.lua import Client

_SCHEMES = {"redis": "redis", "rediss": "rediss", "redis+socket": "unix", "valkey": "redis", "valkeys": "rediss"}
_NOWHERE: dict[str, Any] = {"host": "localhost", "port": 6379, "db": 0, "path": None}


class Broker:
    """An app's broker.

    Parameters
    ----------
    app:
        The Celery app.
    redis:
        URL of the Redis or Valkey that Turgor works in; None for the broker's own server.

    Raises
    ------
    InvalidRedisUrl
        `redis` cannot be read, or is of another kind of server.
    """

    def __init__(self, app: Celery, redis: str | None = None) -> None:
        self._app = app
        self._redis = None if redis is None else _read(redis)

    @cached_property
    def _connection(self) -> Connection:
        try:
            return self._app.connection_for_write()
        except ValueError as error:
            written = self._app.conf.broker_write_url or self._app.conf.broker_url
            raise InvalidBrokerUrl(without_password(str(written)), str(error)) from error

    @cached_property
    def url(self) -> str:
        """Where the realm lives.

        Raises
        ------
        UnsupportedBroker
            The broker is neither Redis nor Valkey, and nobody has said which Redis to work in.
        InvalidBrokerUrl
            The broker's URL cannot be read.
        """
        found = _redis_url(self._redis or self._connection)
        if found is None:
            raise UnsupportedBroker(self._connection.as_uri().partition("://")[0])
        return found

    @cached_property
    def is_elsewhere(self) -> bool:
        """Whether messages go to another server or database than the realm's."""
        if self._redis is None:
            return False
        theirs = _redis_url(self._connection)
        return theirs is None or _place(theirs) != _place(self.url)

    def client(self) -> Client:
        """A client of the realm's server."""
        encryption = (self._redis or self._connection).ssl
        return connect(self.url, **(encryption if isinstance(encryption, dict) else {}))

    def __str__(self) -> str:
        return self._connection.as_uri()


def _read(url: str) -> Connection:
    """Read it as kombu reads a broker's URL, which knows neither unix:// nor valkey://."""
    written = url
    if url.startswith("unix://"):
        written = url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)
    elif url.startswith("valkey"):
        written = url.replace("valkey", "redis", 1)
    try:
        connection = Connection(written)
        readable = _redis_url(connection) is not None
    except (ValueError, KeyError) as error:
        raise InvalidRedisUrl(without_password(url), str(error)) from error
    if not readable:
        raise InvalidRedisUrl(without_password(url), "it is no Redis or Valkey")
    return connection


def _redis_url(connection: Connection) -> str | None:
    """The same place, as redis-py writes it; None if it is no Redis."""
    scheme, _, rest = connection.as_uri(include_password=True).partition("://")
    if scheme not in _SCHEMES:
        return None
    if scheme == "redis+socket":
        path, _, query = rest.partition("?")
        database = query.rpartition("virtual_host=")[2]
        return f"unix://{path}?db={database or 0}"
    target = "rediss" if connection.ssl else _SCHEMES[scheme]
    return f"{target}://{rest}"


def _place(url: str) -> dict[str, Any]:
    options: dict[str, Any] = {**_NOWHERE, **parse_url(url)}
    return {name: options[name] for name in _NOWHERE}
