"""A TCP proxy between a client and its server that fails on demand, as networks do."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from typing import Self

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CHUNK = 65536


class FaultProxy:
    """Passes bytes both ways, except for the faults that a test asks for.

    Parameters
    ----------
    port:
        Of the server, on this machine. The proxy's own is `self.port`.
    """

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._replies_to_drop = 0
        self._request_bytes_left: int | None = None
        self.faults = 0
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        threading.Thread(target=self._accept, name="fault-proxy", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for pair in list(self._pairs):
            self._reset(pair)

    def drop_replies(self, count: int) -> None:
        """Let the next requests reach the server, throw their replies away and reset the connection."""
        with self._lock:
            self._replies_to_drop = count

    def cut_request_after(self, size: int) -> None:
        """Pass only the first `size` bytes of what clients send next, then reset the connection."""
        with self._lock:
            self._request_bytes_left = size

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
            except OSError:
                return
            self._pairs.add((client, server))
            threading.Thread(target=self._pass, args=(client, server), name="fault-proxy-pair", daemon=True).start()

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, self._pass_request)
            selector.register(server, selectors.EVENT_READ, self._pass_reply)
            try:
                while all(key.data(client, server) for key, _ in selector.select()):
                    pass
            except OSError:
                pass
        self._reset((client, server))

    def _pass_request(self, client: socket.socket, server: socket.socket) -> bool:
        data = client.recv(_CHUNK)
        with self._lock:
            left = self._request_bytes_left
            if left is not None:
                self._request_bytes_left = None if len(data) >= left else left - len(data)
        if left is None or len(data) < left:
            server.sendall(data)
            return bool(data)
        self.faults += 1
        server.sendall(data[:left])
        return False

    def _pass_reply(self, client: socket.socket, server: socket.socket) -> bool:
        data = server.recv(_CHUNK)
        with self._lock:
            dropped = bool(data) and self._replies_to_drop > 0
            self._replies_to_drop -= dropped
        if dropped:
            self.faults += 1
            return False
        client.sendall(data)
        return bool(data)

    def _reset(self, pair: tuple[socket.socket, socket.socket]) -> None:
        self._pairs.discard(pair)
        for each in pair:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            each.close()
