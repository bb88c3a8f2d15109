"""Serves a realm's workload over HTTP: `/metrics` for Prometheus, `/desired-workers` for KEDA.

Where Redis does not answer, neither path has a figure: it answers 503. An autoscaler keeps what it has then, and
a 0 would take all its workers away.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ..limits.server import UNAVAILABLE
from ..scheduler.desired_workers import DesiredWorkers
from .workload import Workload

METRICS_PATH, DESIRED_PATH = "/metrics", "/desired-workers"
logger = logging.getLogger(__name__)


class Exporter(ThreadingHTTPServer):
    """An HTTP server for one realm. `serve_forever` and `shutdown` are those of `socketserver`.

    Parameters
    ----------
    look:
        Gives the answer of this moment.
    host, port:
        Where to listen; port 0 takes a free one, which is `server_port` then.
    per_worker:
        How many tasks a worker runs at a time: `/desired-workers` counts in such workers.
    """

    daemon_threads = True

    def __init__(self, look: Callable[[], DesiredWorkers], *, host: str = "", port: int = 9808, per_worker: int = 1) -> None:
        super().__init__((host, port), _Handler)
        self._look, self._per_worker = look, per_worker
        self._registry = CollectorRegistry()
        self._registry.register(Workload(look))

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body of a GET."""
        try:
            if path == METRICS_PATH:
                return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
            if path == DESIRED_PATH:
                return 200, "application/json", json.dumps(self._look().to_dict(self._per_worker)).encode()
        except UNAVAILABLE as error:
            logger.warning("Redis is out of reach: %s", error)
            return 503, "text/plain", b"Redis is out of reach\n"
        return 404, "text/plain", f"see {METRICS_PATH} and {DESIRED_PATH}\n".encode()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        exporter = cast("Exporter", self.server)
        status, content_type, body = exporter.answer(urlsplit(self.path).path)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name that http.server has
        """Scrapes are no news."""
