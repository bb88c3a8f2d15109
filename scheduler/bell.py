"""The bell: what a sleeping dispatcher listens to.

A blocking pop stays outstanding on a connection of its own, and the dispatcher waits at the socket.
The server looks at the timeouts of blocked clients ten times a second when it is idle, which is too
coarse to open a limit on time; the socket is exact, and it is the same wait for the bell and the clock.
"""

from __future__ import annotations

from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from ..limits.lua import Client

_HEARTBEAT_S = 5
_SILENCE_S = 15.0


class Bell:
    """Waits for a realm's bell.

    Parameters
    ----------
    client:
        Says how to connect. The bell's connection is no part of its pool.
    key:
        The list that a ring is pushed to.
    """

    def __init__(self, client: Client, key: str) -> None:
        self._client, self._key = client, key
        self._connection: Any = None
        self._silent_s = 0.0

    def wait(self, timeout_s: float) -> bool:
        """Whether the bell rang within `timeout_s` seconds. A ring before the first wait counts.

        Raises
        ------
        redis.ConnectionError
            The server is gone, or has not answered the outstanding pop for three heartbeats.
        """
        try:
            return self._wait(timeout_s)
        except Exception:
            self.close()
            raise

    def _wait(self, timeout_s: float) -> bool:
        if self._connection is None:
            self._connection = self._client.connection_pool.make_connection()
            self._listen()
        if not self._connection.can_read(timeout_s):
            self._silent_s += timeout_s
            if self._silent_s > _SILENCE_S:
                raise RedisConnectionError("no heartbeat on the bell's connection")
            return False
        rang = self._connection.read_response() is not None
        self._listen()
        return rang

    def _listen(self) -> None:
        self._connection.send_command("BLPOP", self._key, _HEARTBEAT_S)
        self._silent_s = 0.0

    def close(self) -> None:
        """Hang up. May be called twice."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None
