"""The called service of the demo: it enforces its own published limits, and judges whether Turgor kept them.

One asyncio loop runs over plain sockets: it costs a fraction of a thread for each connection, a call that waits out its
simulated latency holds up nobody, and whoever reads the sockets gets the kernel's arrival times (`http_connection`).

    python -m turgor.examples.demo.service --port 8080 --latency-ms 20

runs it as a process of its own, which keeps the caller's work off the judge's interpreter lock. Inside a program:

    with Service(windows={"llm_api": [(60, 60, "requests")]}) as service:
        httpx.post(f"{service.url}/llm_api/chat", json={"tokens": 120, "loop": "planner-1"})
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

from .http_connection import HttpConnection, MalformedRequest, stamp_arrivals
from .judge import Judge, WindowTable
from .routes import Routes

WINDOWS: WindowTable = {
    "llm_api": [(60, 10, "requests"), (75_000, 10, "tokens")],
    "git_operations": [(15, 5, "requests")],
    "file_operations": [(100, 5, "requests")],
}
LOOPBACK = "127.0.0.1"
_BACKLOG = 512
_ACCEPT_PAUSE_S = 0.1


class Service:
    """An HTTP service on loopback that publishes limits and refuses what breaks them.

    Starting twice or stopping twice does nothing. The record outlives a stop, so that it can be read afterwards.

    Parameters
    ----------
    windows:
        For each service its windows, as (limit, seconds, "requests" or "tokens"). A service not named does not exist.
    port:
        0 takes a free one.
    latency_s:
        How long an accepted call takes. Refusals come at once.

    Raises
    ------
    ValueError
        A window or a latency that is not valid.
    """

    def __init__(self, *, windows: WindowTable = WINDOWS, port: int = 0, latency_s: float = 0.02) -> None:
        if not 0 <= latency_s <= 3600:
            raise ValueError(f"latency_s {latency_s!r}: use 0 to 3600")
        self._routes = Routes(Judge(windows), latency_s=latency_s)
        self._port = port
        self._url = ""
        self._running: _Running | None = None

    @property
    def url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:8080`; empty before the first start."""
        return self._url

    def start(self) -> None:
        """Listen. Raises `OSError` when the port is taken, and `OverflowError` when there is no such port."""
        if self._running is not None:
            return
        listener = socket.create_server((LOOPBACK, self._port), backlog=_BACKLOG)
        listener.setblocking(False)
        stamp_arrivals(listener)
        self._url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        loop = asyncio.new_event_loop()
        serving = loop.create_task(_serve(listener, self._routes))
        thread = threading.Thread(target=_run, args=(loop, serving, listener), name="demo-service", daemon=True)
        self._running = _Running(loop, serving, thread)
        thread.start()

    def stop(self) -> None:
        """Hang up on everybody and wait until the thread has ended. Calls still in their latency get no answer."""
        running, self._running = self._running, None
        if running is None:
            return
        # The loop is closed already if serving ended by an error of its own.
        with suppress(RuntimeError):
            running.loop.call_soon_threadsafe(running.serving.cancel)
        running.thread.join()

    def report(self, *, until_now: bool = False) -> dict[str, object]:
        """What `GET /report` says, without HTTP. Also after the stop."""
        if self._running is None:
            return self._routes.report(until_now=until_now)
        # The judge belongs to the loop's thread while that runs.
        return asyncio.run_coroutine_threadsafe(_report(self._routes, until_now=until_now), self._running.loop).result()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


@dataclass(frozen=True, slots=True)
class _Running:
    loop: asyncio.AbstractEventLoop
    serving: asyncio.Task[None]
    thread: threading.Thread


def _run(loop: asyncio.AbstractEventLoop, serving: asyncio.Task[None], listener: socket.socket) -> None:
    # Closing here, not in `_serve`: a task that is cancelled before its first step never reaches its `finally`.
    with closing(loop), listener, suppress(asyncio.CancelledError):
        loop.run_until_complete(serving)


async def _serve(listener: socket.socket, routes: Routes) -> None:
    """Accept clients until cancelled; then hang up on all."""
    loop = asyncio.get_running_loop()
    conversations: set[asyncio.Task[None]] = set()
    try:
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError:
                # Out of file descriptors: those who wait in the backlog get their turn when others have left.
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            conversation = loop.create_task(_converse(HttpConnection(client), routes))
            conversations.add(conversation)
            conversation.add_done_callback(conversations.discard)
    finally:
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)


async def _converse(connection: HttpConnection, routes: Routes) -> None:
    """Answer one client, one request after the other, until either side hangs up."""
    try:
        with suppress(OSError):
            await _answer_requests(connection, routes)
    finally:
        connection.close()


async def _answer_requests(connection: HttpConnection, routes: Routes) -> None:
    try:
        while request := await connection.read_request():
            reply = routes.answer(request)
            if reply.delay_s:
                await asyncio.sleep(reply.delay_s)
            await connection.write(reply, keep_alive=request.keep_alive)
            if not request.keep_alive:
                return
    except MalformedRequest as problem:
        await connection.write(routes.reject(problem), keep_alive=False)


async def _report(routes: Routes, *, until_now: bool) -> dict[str, object]:
    return routes.report(until_now=until_now)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Prints the URL, alone on a line, once calls are answered."""
    parser = argparse.ArgumentParser(prog="turgor.examples.demo.service", description="The called service of Turgor's demo.")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--latency-ms", type=float, default=20.0, help="how long an accepted call takes (20)")
    parser.add_argument("--windows", type=json.loads, default=WINDOWS, help='JSON: {"llm_api": [[60, 60, "requests"]]}')
    options = parser.parse_args(arguments)
    windows: object = options.windows
    if not isinstance(windows, dict):
        parser.error("--windows: use a JSON object, a list of [limit, seconds, unit] for each service")
    stops = (signal.SIGTERM, signal.SIGINT)
    # Blocked before the thread starts, so that only `sigwait` receives them.
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        service = Service(windows=cast("WindowTable", windows), port=options.port, latency_s=options.latency_ms / 1000)
        service.start()
    except (ValueError, OSError, OverflowError) as problem:
        parser.error(str(problem))
    with service:
        print(service.url, flush=True)
        signal.sigwait(stops)


if __name__ == "__main__":
    main()
