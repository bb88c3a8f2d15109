"""A listener hears one channel of the server, for as long as somebody waits.

It waits at the socket of a connection of its own, which is exact; and the server knows from that connection that
somebody listens.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .server import UNREACHABLE

if TYPE_CHECKING:
    from .lua import AsyncClient, Client

_CONFIRMED_WITHIN_S = 5.0
# One wait at a socket, at most: no timer takes infinity.
_LONGEST_WAIT_S = 60.0


class Listener:
    """Hears one channel.

    Parameters
    ----------
    client:
        Lends a connection of its pool.
    channel:
        The channel's name.
    """

    def __init__(self, client: Client, channel: str) -> None:
        self._client, self._channel = client, channel
        self._pubsub: Any = None

    def listen(self) -> None:
        """From here on nothing is missed. Raises redis-py's errors when nobody answers."""
        if self._pubsub is None:
            self._pubsub = self._client.pubsub()
            self._pubsub.subscribe(self._channel)
            self._pubsub.get_message(timeout=_CONFIRMED_WITHIN_S)

    def wait(self, timeout_s: float) -> bool:
        """Whether something was said within `timeout_s` seconds, or the connection was lost and something may have been."""
        deadline_s = time.monotonic() + timeout_s
        try:
            self.listen()
            while (left_s := deadline_s - time.monotonic()) > 0:
                message = self._pubsub.get_message(timeout=min(left_s, _LONGEST_WAIT_S))
                if message and message["type"] == "message":
                    return True
        except UNREACHABLE:
            self.close()
            return True
        return False

    def close(self) -> None:
        """Give the connection back. May be called twice."""
        if self._pubsub is not None:
            self._pubsub.close()
            self._pubsub = None


class AsyncListener:
    """`Listener` for asyncio."""

    def __init__(self, client: AsyncClient, channel: str) -> None:
        self._client, self._channel = client, channel
        self._pubsub: Any = None

    async def listen(self) -> None:
        """`Listener.listen`."""
        if self._pubsub is None:
            self._pubsub = self._client.pubsub()
            await self._pubsub.subscribe(self._channel)
            await self._pubsub.get_message(timeout=_CONFIRMED_WITHIN_S)

    async def wait(self, timeout_s: float) -> bool:
        """`Listener.wait`."""
        deadline_s = time.monotonic() + timeout_s
        try:
            await self.listen()
            while (left_s := deadline_s - time.monotonic()) > 0:
                message = await self._pubsub.get_message(timeout=min(left_s, _LONGEST_WAIT_S))
                if message and message["type"] == "message":
                    return True
        except UNREACHABLE:
            await self.close()
            return True
        return False

    async def close(self) -> None:
        """`Listener.close`."""
        if self._pubsub is not None:
            pubsub, self._pubsub = self._pubsub, None
            await pubsub.aclose()
