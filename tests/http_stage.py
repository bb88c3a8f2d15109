"""A real HTTP service on loopback that answers as a test says, and counts what reaches it."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self


class Answer(NamedTuple):
    """What is sent for a path. `status` 0 hangs up instead; a `body` of two parts needs `Stage.go_on` in between."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: tuple[bytes, ...] = (b"{}",)


def usage_answer(usage: Mapping[str, Any], *, zipped: bool = False) -> Answer:
    body = json.dumps({"usage": usage}).encode()
    if zipped:
        return Answer(headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}, body=(gzip.compress(body),))
    return Answer(headers={"Content-Type": "application/json"}, body=(body,))


class Stage:
    """The service. `answers` may be changed while it runs; a path that it does not name is answered with 200."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.calls = Counter[str]()
        self.go_on = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stage = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with stage._lock:
                    stage.calls[self.path] += 1
                    answer = stage.answers.get(self.path, Answer())
                if not answer.status:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(sum(map(len, answer.body))))
                self.end_headers()
                first, *rest = answer.body
                self.wfile.write(first)
                for part in rest:
                    stage.go_on.wait(10)
                    self.wfile.write(part)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def do_HEAD(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "9")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
                pass

        return Handler
