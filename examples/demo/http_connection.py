"""One HTTP/1.1 client: requests are read with the moment at which they arrived, replies are written.

On Linux the moment is the kernel's own (SO_TIMESTAMPNS), taken when the bytes reached this machine's network stack. The
time until this process got the processor does not count: on a busy core that is tens of milliseconds, and a judge that
stamps one call late and the next in time would invent a violation. Elsewhere it is the moment of the read.

A request arrives with its first byte. What cannot be read as HTTP raises `MalformedRequest`; such a connection is of no
more use.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NoReturn

MAX_HEAD_BYTES = 16_384
MAX_BODY_BYTES = 1_048_576

# linux/asm-generic/socket.h; the socket module does not name it. The answer is a `struct timespec` of the wall clock.
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_READ_BYTES = 65_536
_HEAD_END = b"\r\n\r\n"


class MalformedRequest(Exception):
    """These bytes are not a request that this service understands."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `arrived_ns` is on the clock of `time.monotonic_ns`."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    arrived_ns: int = 0
    keep_alive: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """A JSON answer, to be sent after `delay_s`."""

    status: HTTPStatus
    content: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delay_s: float = 0.0

    def encode(self, *, keep_alive: bool) -> bytes:
        body = json.dumps(self.content).encode()
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"Connection: {'keep-alive' if keep_alive else 'close'}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(lines).encode("latin-1") + _HEAD_END + body


class HttpConnection:
    """The conversation with one client. Owns its socket, which must not block."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._buffer = bytearray()
        self._read_ns = 0

    async def read_request(self) -> Request | None:
        """The next request, or None when the client has hung up."""
        if not self._buffer and not await self._fill():
            return None
        arrived_ns = self._read_ns
        while (head_end := self._buffer.find(_HEAD_END)) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise MalformedRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is too large")
            if not await self._fill():
                return None
        method, target, version, headers = _parse_head(bytes(self._buffer[:head_end]))
        body_start = head_end + len(_HEAD_END)
        body_end = body_start + _body_length(headers)
        while len(self._buffer) < body_end:
            if not await self._fill():
                return None
        body = bytes(self._buffer[body_start:body_end])
        del self._buffer[:body_end]
        path, _, query = target.partition("?")
        # A reply to HEAD must have no body; this service has none to spare for it, so it hangs up after the 405.
        keep_alive = version != "HTTP/1.0" and method != "HEAD" and headers.get("connection", "").lower() != "close"
        return Request(method, path, query, body, arrived_ns, keep_alive)

    async def write(self, reply: Reply, *, keep_alive: bool) -> None:
        await asyncio.get_running_loop().sock_sendall(self._client, reply.encode(keep_alive=keep_alive))

    def close(self) -> None:
        self._client.close()

    async def _fill(self) -> bool:
        while True:
            try:
                chunk, ancillary, _, _ = self._client.recvmsg(_READ_BYTES, socket.CMSG_SPACE(_TIMESPEC.size))
            except BlockingIOError:
                await self._wait_readable()
            else:
                self._read_ns = arrival_ns(ancillary)
                self._buffer += chunk
                return bool(chunk)

    async def _wait_readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        # The loop may report the socket again before the waiter has run.
        loop.add_reader(self._client, lambda: readable.done() or readable.set_result(None))
        try:
            await readable
        finally:
            loop.remove_reader(self._client)


def stamp_arrivals(listener: socket.socket) -> None:
    """Ask the kernel to stamp what arrives on the connections that this listener will accept."""
    if sys.platform == "linux":
        # A sandbox that lacks the option (gVisor) leaves the moment of the read.
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def arrival_ns(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """When the bytes just read arrived, on the monotonic clock: now, less the age of the kernel's stamp if there is one."""
    now_ns, wall_ns = time.monotonic_ns(), time.time_ns()
    for level, kind, stamp in ancillary:
        if (level, kind, len(stamp)) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS, _TIMESPEC.size):
            seconds, nanoseconds = _TIMESPEC.unpack(stamp)
            return now_ns - max(0, wall_ns - (seconds * 1_000_000_000 + nanoseconds))
    return now_ns


def _parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    """Method, target, version, and the headers by their names in lower case."""
    request_line, *header_lines = head.decode("latin-1").split("\r\n")
    parts = request_line.split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        _reject(HTTPStatus.BAD_REQUEST, "the first line is not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in header_lines:
        name, colon, value = line.partition(":")
        if not colon:
            _reject(HTTPStatus.BAD_REQUEST, "a header has no colon")
        headers[name.lower()] = value.strip()
    return parts[0], parts[1], parts[2], headers


def _body_length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        _reject(HTTPStatus.LENGTH_REQUIRED, "send the body with a Content-Length")
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        _reject(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
    if len(text) > 9 or int(text) > MAX_BODY_BYTES:
        _reject(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes")
    return int(text)


def _reject(status: HTTPStatus, message: str) -> NoReturn:
    raise MalformedRequest(status, message)
