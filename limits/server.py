"""Connects to the Redis server that carries a realm, and says clearly when it cannot."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .errors import ServerUnreachable, UnsupportedServer
from .lua import AsyncClient, Client

MINIMUM_REDIS = (6, 2)
SOCKET_TIMEOUT_S = 10.0
_PASSWORD = re.compile(r"(://[^/?#:@]*):[^/?#]*@")
_PASSWORD_OPTION = re.compile(r"([?&]password=)[^&#]*")
UNREACHABLE = (RedisConnectionError, RedisTimeoutError, OSError)
# A server that answers and takes no writes will take them again: when it has memory, when the failover is over.
UNAVAILABLE = (*UNREACHABLE, OutOfMemoryError, ReadOnlyError)


def connect(url: str, **options: Any) -> Client:
    """A client with the settings that keep a half-open connection from going unnoticed.

    Nothing is sent yet. `options` go to `redis.Redis.from_url` and win over the defaults.
    """
    return redis.Redis.from_url(url, **{**_settings(url), **options})


def connect_async(url: str, **options: Any) -> AsyncClient:
    """`connect` for asyncio."""
    return redis.asyncio.Redis.from_url(url, **{**_settings(url), **options})


def _settings(url: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": 5.0,
        "health_check_interval": 25,
    }
    if not url.startswith("unix:"):
        settings["socket_keepalive"] = True
    return settings


def check_server(client: Client, url: str) -> None:
    """Make sure that this server can carry Turgor.

    Raises
    ------
    ServerUnreachable
        Nobody answers.
    UnsupportedServer
        The server is older than Redis 6.2, a read-only replica, out of memory, or refuses scripts.
    """
    shown = without_password(url)
    try:
        server = client.info("server")
        client.eval("return redis.call('SET', KEYS[1], '1', 'PX', 1)", 1, "{turgor:check}:write")
    except UNREACHABLE as error:
        raise unreachable(url, error) from error
    except ResponseError as error:
        raise unsupported(url, error) from error
    version = _version_of(server)
    if version < MINIMUM_REDIS:
        found = ".".join(map(str, version))
        raise UnsupportedServer(f"Redis at {shown} is version {found}: Turgor needs Redis 6.2 or Valkey 7.2, or newer")


@contextlib.contextmanager
def answered_by(client: Client | AsyncClient) -> Generator[None]:
    """Raise `ServerUnreachable`, with the URL, if nobody answers the client."""
    try:
        yield
    except UNREACHABLE as error:
        raise unreachable(url_of(client), error) from error


def unreachable(url: str, error: Exception) -> ServerUnreachable:
    """What to raise when nobody answers at `url`, or nobody is let in."""
    if isinstance(error, ServerUnreachable):
        return error
    shown = without_password(url)
    if isinstance(error, AuthenticationError):
        return ServerUnreachable(f"Redis at {shown} lets nobody in: {_first_line(error)} Correct user and password.")
    if isinstance(error, BusyLoadingError):
        return ServerUnreachable(f"Redis at {shown} is loading its data. Try again in a moment.")
    return ServerUnreachable(f"no Redis at {shown}: {_reason(error)}. Start one, or correct the URL.")


def unsupported(url: str, error: ResponseError) -> UnsupportedServer:
    """What to raise when the server at `url` answers, and refuses what Turgor asks of it."""
    reason = remedy_of(error) or _first_line(error)
    return UnsupportedServer(f"Redis at {without_password(url)} cannot carry Turgor: {reason}")


def url_of(client: Client | AsyncClient) -> str:
    """Where a client leads to, without user and password."""
    # A cluster has no pool of its own, and a pool of Sentinel no host.
    options: dict[str, Any] = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
    if "path" in options:
        return f"unix://{options['path']}?db={options.get('db') or 0}"
    if "host" in options:
        return f"redis://{options['host']}:{options.get('port', 6379)}/{options.get('db') or 0}"
    return f"the addresses of {type(client).__name__}"


def without_password(url: str) -> str:
    """The URL, fit for a log.

    >>> without_password("redis://:secret@host:6379/0")
    'redis://:***@host:6379/0'
    """
    return _PASSWORD_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))


def _version_of(server: dict[str, Any]) -> tuple[int, int]:
    if server.get("server_name") == "valkey":
        return (7, 2)
    numbers = re.findall(r"\d+", str(server.get("redis_version", "0.0")))
    return int(numbers[0]), int(numbers[1])


def _reason(error: Exception) -> str:
    if isinstance(error, RedisTimeoutError | TimeoutError):
        return "timed out"
    text = str(error).lower()
    reasons = ("connection refused", "timed out", "name or service not known", "connection reset")
    return next((reason for reason in reasons if reason in text), _first_line(error))


def remedy_of(error: ResponseError) -> str:
    """What to do with a server that answers so; `""` if the server is not the matter."""
    message = _first_line(error)
    if isinstance(error, ReadOnlyError) or "read only replica" in message:
        return "it is a read-only replica. Give the URL of the primary."
    if isinstance(error, OutOfMemoryError) or "maxmemory" in message:
        return "it is out of memory. Raise maxmemory, with maxmemory-policy noeviction."
    if isinstance(error, NoPermissionError) or any(
        words in message.lower() for words in ("permission", "can't run this command")
    ):
        return f"this user may not do all that it needs ({message}). Allow EVAL, EVALSHA and all commands on the keys {{turgor:*."
    if "unknown command" in message.lower():
        return f"it does not run scripts ({message}). Enable EVAL and EVALSHA."
    if "db index" in message.lower():
        return f"it has no such database ({message}). Correct the number at the end of the URL."
    return ""


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
