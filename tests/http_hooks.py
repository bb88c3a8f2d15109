"""The three hooks behind one face, so that one suite runs over all of them: `get`, `open`, and what they leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import httpx
import requests

from turgor.limits import AsyncHierarchicalLimiter, HierarchicalLimiter
from turgor.limits.httpx_transport import AsyncTurgorTransport, TurgorTransport
from turgor.limits.requests_adapter import TurgorAdapter

FAULTS = (httpx.TransportError, requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


class Reply(NamedTuple):
    status: int
    body: bytes


class OpenReply(Protocol):
    """A response whose body is not read yet."""

    def read(self) -> bytes: ...
    def close(self) -> None: ...


class Hook:
    """A client with the hook in it, and nothing between it and the service but a socket."""

    def __init__(self, url: str, realm: str, options: Mapping[str, Any]) -> None:
        self.url, self.realm = url, realm
        self.options: dict[str, Any] = {"service": "api", **options}

    def get(self, path: str) -> Reply:
        return self.send("GET", path)

    def post(self, path: str) -> Reply:
        return self.send("POST", path)

    def send(self, method: str, path: str) -> Reply:
        raise NotImplementedError

    def open(self, path: str) -> OpenReply:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class HttpxHook(Hook):
    def __init__(self, url: str, realm: str, options: Mapping[str, Any], server_url: str) -> None:
        super().__init__(url, realm, options)
        self._limiter = HierarchicalLimiter(server_url, realm=realm)
        self._client = httpx.Client(transport=TurgorTransport(self._limiter, **self.options), base_url=url)

    def send(self, method: str, path: str) -> Reply:
        response = self._client.request(method, path)
        return Reply(response.status_code, response.content)

    def open(self, path: str) -> OpenReply:
        return self._client.send(self._client.build_request("GET", path), stream=True)

    def close(self) -> None:
        self._client.close()
        self._limiter.close()


class RequestsHook(Hook):
    def __init__(self, url: str, realm: str, options: Mapping[str, Any], server_url: str) -> None:
        super().__init__(url, realm, options)
        self._limiter = HierarchicalLimiter(server_url, realm=realm)
        self._session = requests.Session()
        self._session.mount("http://", TurgorAdapter(self._limiter, **self.options))

    def send(self, method: str, path: str) -> Reply:
        response = self._session.request(method, self.url + path, timeout=10)
        return Reply(response.status_code, response.content)

    def open(self, path: str) -> OpenReply:
        response = self._session.get(self.url + path, stream=True, timeout=10)

        class Opened:
            def read(self) -> bytes:
                return response.content

            def close(self) -> None:
                response.close()

        return Opened()

    def close(self) -> None:
        self._session.close()
        self._limiter.close()


class AsyncHttpxHook(Hook):
    def __init__(self, url: str, realm: str, options: Mapping[str, Any], server_url: str) -> None:
        super().__init__(url, realm, options)
        self._runner = asyncio.Runner()
        self._run: Callable[[Any], Any] = self._runner.run
        self._limiter = AsyncHierarchicalLimiter(server_url, realm=realm)
        self._client = httpx.AsyncClient(transport=AsyncTurgorTransport(self._limiter, **self.options), base_url=url)

    def send(self, method: str, path: str) -> Reply:
        response: httpx.Response = self._run(self._client.request(method, path))
        return Reply(response.status_code, response.content)

    def open(self, path: str) -> OpenReply:
        response: httpx.Response = self._run(self._client.send(self._client.build_request("GET", path), stream=True))
        run = self._run

        class Opened:
            def read(self) -> bytes:
                return run(response.aread())

            def close(self) -> None:
                run(response.aclose())

        return Opened()

    def close(self) -> None:
        self._run(self._client.aclose())
        self._run(self._limiter.close())
        self._runner.close()


HOOKS = {"httpx": HttpxHook, "httpx-async": AsyncHttpxHook, "requests": RequestsHook}
