"""A link is a client and the server that it leads to: it runs scripts, and names the server when nobody answers.

What a limiter costs is mostly the client library. So a link talks to a connection of the client's own pool, as
redis-py's pipelines do, without the hooks around each command, and does not give it back each time (see `IdleConnections`): together that takes a
third of the client's own work off a call. Retries, health checks and timeouts are those of the connection. A client of
another kind, such as a cluster, is asked in the usual way. What counts redis-py's commands for tracing does not see these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

import hiredis
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from .idle_connections import IdleConnections
from .server import UNREACHABLE, connect, connect_async, unreachable, url_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .errors import ServerUnreachable
    from .lua import AsyncClient, Client, Script

# hiredis declares that a command has one part.
_pack = cast("Callable[[tuple[str | bytes | float, ...]], bytes]", hiredis.pack_command)
# Before redis-py 6, a pool wanted to know what the connection was for.
PROBE_TIMEOUT_S = 0.5
_POOLS_ARE_PLAIN = int(redis.__version__.partition(".")[0]) >= 6


class Link:
    """The way to a server.

    Parameters
    ----------
    client:
        A redis-py client, which stays the caller's, or a URL, and then `close` closes its connections.
    """

    __slots__ = ("_idle", "_owned", "client")

    def __init__(self, client: Client | str) -> None:
        if isinstance(client, redis.asyncio.Redis):
            raise TypeError("client: an asyncio client cannot be used here; use the Async class of the same name")
        self._owned = isinstance(client, str)
        self.client = connect(client) if isinstance(client, str) else client
        pool = _plain_pool(self.client)
        self._idle = None if pool is None else IdleConnections.of(pool)

    def run(self, script: Script, *values: str | bytes | float) -> Any:
        """Run a script whose one key is the realm's prefix. Raises `ServerUnreachable` when nobody answers."""
        try:
            return self.call(script, *values)
        except UNREACHABLE as error:
            raise self.unreachable(error) from error

    def unreachable(self, error: Exception) -> ServerUnreachable:
        """What to raise for an error of the client."""
        return unreachable(url_of(self.client), error)

    def answers(self) -> bool:
        """Whether the server answers, within PROBE_TIMEOUT_S and on a connection of its own."""
        probe = _probe(self.client, Retry(NoBackoff(), 0))
        try:
            if probe is None:
                return bool(self.client.ping())
            probe.connect()
            probe.send_command("PING")
            return bool(probe.read_response())
        except (*UNREACHABLE, RedisError):
            return False
        finally:
            if probe is not None:
                probe.disconnect()

    def call(self, script: Script, *values: str | bytes | float) -> Any:
        """`run` for callers that look after an absent server themselves: redis-py's own errors pass."""
        idle = self._idle
        if idle is None:
            return script(self.client, *values)
        try:
            return _converse(idle, _pack(("EVALSHA", script.sha, 1, *values)))
        except NoScriptError:
            return _converse(idle, _pack(("EVAL", script.source, 1, *values)))

    def close(self) -> None:
        if self._owned:
            self.client.close()


def _converse(idle: IdleConnections, packed: bytes) -> Any:
    connection = idle.take()

    def attempt() -> Any:
        connection.send_packed_command((packed,))
        return connection.read_response()

    def give_up(_: Exception) -> None:
        connection.disconnect()

    try:
        reply = connection.retry.call_with_retry(attempt, give_up)
    except BaseException as error:
        if not isinstance(error, RedisError):
            # Interrupted, perhaps before the reply has come, which would be taken for that of the next call.
            connection.disconnect()
        idle.drop(connection)
        raise
    idle.keep(connection)
    return reply


def _plain_pool(client: Client | AsyncClient) -> Any:
    """The pool of a client that is no cluster, is not bound to one connection and has no cache; or None."""
    if type(client) not in (redis.Redis, redis.asyncio.Redis) or not _POOLS_ARE_PLAIN:
        return None
    is_bound = client.connection is not None or getattr(client, "single_connection_client", False)
    pool = client.connection_pool
    return None if is_bound or getattr(pool, "cache", None) is not None else pool


def _probe(client: Client | AsyncClient, retry: Any) -> Any:
    """A connection that nobody waits long for; None for a client that has no pool of its own, such as a cluster."""
    pool: Any = getattr(client, "connection_pool", None)
    if pool is None:
        return None
    probe = pool.connection_class(**pool.connection_kwargs)
    probe.socket_timeout = probe.socket_connect_timeout = PROBE_TIMEOUT_S
    probe.retry = retry
    return probe


class AsyncLink:
    """`Link` for asyncio. A connection belongs to an event loop, so it goes back to the pool each time."""

    __slots__ = ("_owned", "_pool", "client")

    def __init__(self, client: AsyncClient | str) -> None:
        if isinstance(client, redis.Redis):
            raise TypeError("client: this client cannot be awaited; use one of redis.asyncio, or the class without Async")
        self._owned = isinstance(client, str)
        self.client = connect_async(client) if isinstance(client, str) else client
        self._pool = _plain_pool(self.client)

    async def run(self, script: Script, *values: str | bytes | float) -> Any:
        """Run a script. Raises `ServerUnreachable` when nobody answers."""
        try:
            return await self._call(script, *values)
        except UNREACHABLE as error:
            raise self.unreachable(error) from error

    def unreachable(self, error: Exception) -> ServerUnreachable:
        """`Link.unreachable`."""
        return unreachable(url_of(self.client), error)

    async def answers(self) -> bool:
        """`Link.answers`."""
        probe = _probe(self.client, AsyncRetry(NoBackoff(), 0))
        try:
            if probe is None:
                return bool(await cast("Any", self.client.ping()))
            await probe.connect()
            await probe.send_command("PING")
            return bool(await probe.read_response())
        except (*UNREACHABLE, RedisError):
            return False
        finally:
            if probe is not None:
                await probe.disconnect()

    async def close(self) -> None:
        if self._owned:
            await self.client.aclose()

    async def _call(self, script: Script, *values: str | bytes | float) -> Any:
        pool = self._pool
        if pool is None:
            return await script.run_async(self.client, *values)
        try:
            return await _converse_async(pool, _pack(("EVALSHA", script.sha, 1, *values)))
        except NoScriptError:
            return await _converse_async(pool, _pack(("EVAL", script.source, 1, *values)))


async def _converse_async(pool: Any, packed: bytes) -> Any:
    connection = await pool.get_connection()

    async def attempt() -> Any:
        await connection.send_packed_command((packed,))
        return await connection.read_response()

    async def give_up(_: Exception) -> None:
        await connection.disconnect()

    try:
        return await connection.retry.call_with_retry(attempt, give_up)
    finally:
        await pool.release(connection)


AnyLink: TypeAlias = Link | AsyncLink


class Closing:
    """Closes the connections at the end of a `with` block."""

    _link: Link

    def close(self) -> None:
        """Close the connections, if the limiter was given a URL. A client stays open: it is the caller's."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


class AsyncClosing:
    """`Closing` for asyncio."""

    _link: AsyncLink

    async def close(self) -> None:
        """`Closing.close`."""
        await self._link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
