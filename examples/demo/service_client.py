"""Calls the demo's service over connections that stay open, one for each thread of each process."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

TIMEOUT_S = 30.0


class ServiceRefused(Exception):
    """The service did not accept a call. 429: it was one call too many."""

    def __init__(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(f"{status}: {reason}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.status, self.reason)


class ServiceClient:
    """A client of the service at `url`. Connects at the first call."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self._local = threading.local()

    def post(self, path: str, fields: Mapping[str, object]) -> None:
        """Make one call, once. Raises `ServiceRefused`, or `OSError` where there is no service."""
        self._ask("POST", path, json.dumps(fields).encode())

    def get(self, path: str) -> bytes:
        return self._ask("GET", path)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = self._connection()
        try:
            connection.request(method, f"/{path}", body)
            response = connection.getresponse()
            answer = response.read()
        except HTTPException as error:
            connection.close()
            raise ConnectionError(f"{method} /{path}: {error!r}") from error
        except OSError:
            connection.close()
            raise
        if response.status != HTTPStatus.OK:
            raise ServiceRefused(response.status, _reason(answer))
        return answer

    def _connection(self) -> HTTPConnection:
        if not hasattr(self._local, "connection"):
            self._local.connection = HTTPConnection(self._address, timeout=TIMEOUT_S)
        connection: HTTPConnection = self._local.connection
        return connection


def _reason(answer: bytes) -> str:
    """What the service says is wrong."""
    try:
        return str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return answer.decode(errors="replace")
