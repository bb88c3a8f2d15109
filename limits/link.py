"""A link is a client and the server that it leads to: it runs scripts, and names the server when nobody answers.

What a limiter costs is mostly the client library. So a link talks to a connection of the client's own pool, as
redis-py's pipelines do, without the hooks around each command: that takes a quarter off the round trip (measured:
50 -> 38 µs). Retries, health checks and timeouts are those of the connection. A client of another kind, such as a
cluster, is asked in the usual way. What counts redis-py's commands for tracing does not see these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import hiredis
import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from .server import UNREACHABLE, connect, connect_async, unreachable, url_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .lua import AsyncClient, Client, Script

# hiredis declares that a command has one part.
_pack = cast("Callable[[tuple[str | bytes | float, ...]], bytes]", hiredis.pack_command)
# Before redis-py 6, a pool wanted to know what the connection was for.
_POOLS_ARE_PLAIN = int(redis.__version__.partition(".")[0]) >= 6


class Link:
    """The way to a server.

    Parameters
    ----------
    client:
        A redis-py client, which stays the caller's, or a URL, and then `close` closes its connections.
    """

    __slots__ = ("_owned", "_pool", "client")

    def __init__(self, client: Client | str) -> None:
        if isinstance(client, redis.asyncio.Redis):
            raise TypeError("client: an asyncio client cannot be used here; use the Async class of the same name")
        self._owned = isinstance(client, str)
        self.client = connect(client) if isinstance(client, str) else client
        self._pool = _plain_pool(self.client)

    def run(self, script: Script, *values: str | bytes | float) -> Any:
        """Run a script whose one key is the realm's prefix. Raises `ServerUnreachable` when nobody answers."""
        try:
            return self.call(script, *values)
        except UNREACHABLE as error:
            raise unreachable(url_of(self.client), error) from error

    def call(self, script: Script, *values: str | bytes | float) -> Any:
        """`run` for callers that look after an absent server themselves: redis-py's own errors pass."""
        if self._pool is None:
            return script(self.client, *values)
        try:
            return self._converse(_pack(("EVALSHA", script.sha, 1, *values)))
        except NoScriptError:
            return self._converse(_pack(("EVAL", script.source, 1, *values)))

    def close(self) -> None:
        if self._owned:
            self.client.close()

    def _converse(self, packed: bytes) -> Any:
        pool = self._pool
        connection = pool.get_connection()

        def attempt() -> Any:
            connection.send_packed_command((packed,))
            return connection.read_response()

        def give_up(_: Exception) -> None:
            connection.disconnect()

        try:
            return connection.retry.call_with_retry(attempt, give_up)
        finally:
            pool.release(connection)


def _plain_pool(client: Client) -> Any:
    """The pool of a client that is no cluster, is not bound to one connection and has no cache; or None."""
    if type(client) is redis.Redis and client.connection is None and _POOLS_ARE_PLAIN:
        pool = client.connection_pool
        return pool if getattr(pool, "cache", None) is None else None
    return None


class AsyncLink:
    """`Link` for asyncio."""

    __slots__ = ("_owned", "client")

    def __init__(self, client: AsyncClient | str) -> None:
        if isinstance(client, redis.Redis):
            raise TypeError("client: this client cannot be awaited; use one of redis.asyncio, or the class without Async")
        self._owned = isinstance(client, str)
        self.client = connect_async(client) if isinstance(client, str) else client

    async def run(self, script: Script, *values: str | bytes | float) -> Any:
        """Run a script. Raises `ServerUnreachable` when nobody answers."""
        try:
            return await script.run_async(self.client, *values)
        except UNREACHABLE as error:
            raise unreachable(url_of(self.client), error) from error

    async def close(self) -> None:
        if self._owned:
            await self.client.aclose()
