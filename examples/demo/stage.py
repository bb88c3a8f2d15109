"""The stage: everything that the demo starts, in the order in which it starts, and stops, it.

    server, service              a Valkey and the called service; they come first and go last
    workers, dispatchers         Celery nodes, as one would start them by hand
    loops                        what enqueues; they come last and go first

Each is a process of its own. Leaving the context ends them all and removes the folder, whatever has happened.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from celery import Celery

from turgor.limits.errors import TurgorError

from .actor import Actor
from .embedded_server import EmbeddedServer
from .interrupts import Interrupts

START_S = 60.0
STOP_S = 15.0
_ASK_EVERY_S = 0.05
_PING_S = 0.5
_PACKAGE = "turgor.examples.demo"


class StageFailed(TurgorError):
    """The demo cannot run here. The message says why."""


@dataclass(frozen=True, slots=True)
class Cast:
    """What plays on the stage. `data` keeps the server's data and the logs; None throws them away."""

    workers: int = 1
    processes: int = 2
    dispatchers: int = 0
    latency_ms: float = 20.0
    port: int = 0
    data: Path | None = None


class Stage:
    """A context in which the cast plays.

    Parameters
    ----------
    cast:
        Who plays.
    interrupts:
        End the start at once.
    """

    def __init__(self, cast: Cast, interrupts: Interrupts) -> None:
        self._cast, self._interrupts = cast, interrupts
        self._exits = contextlib.ExitStack()
        self._workers: list[Actor] = []
        self._nodes: list[Actor] = []
        self._loops: list[Actor] = []
        self._actors: list[Actor] = []
        self._home = self._temporary = Path()
        self.server_url = self.service_url = ""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._exits.close()

    @property
    def hint(self) -> str:
        """Where to look on one's own."""
        return f"CELERY_BROKER_URL={self.server_url}   {self.service_url}/report"

    def let_loops_begin(self) -> None:
        self._loops.append(self._start_actor("loops", f"{_PACKAGE}.loops"))

    def kill_worker(self) -> None:
        """`kill -9` for the first node and all its processes; then start it again."""
        self._workers[0].kill()
        self._workers[0].start()

    def check(self) -> None:
        """Raise `ActorEnded` if anybody has left the stage."""
        for actor in self._actors:
            actor.check()

    def stop_callers(self) -> None:
        """End the loops, then the nodes, so that the service hears no more calls. A second interrupt kills them."""
        for loops in self._loops:
            loops.kill()  # a submit is one atomic call, so there is nothing to finish
        for node in self._nodes:
            node.ask_to_stop()
        deadline = time.monotonic() + STOP_S
        for node in self._nodes:
            while not node.wait(_ASK_EVERY_S) and time.monotonic() < deadline and not self._interrupts.hurry():
                pass
            node.kill()

    def _start(self) -> None:
        kept = self._cast.data
        self._temporary = self._exits.enter_context(_temporary_folder())
        self._home = self._temporary if kept is None else self._exits.enter_context(_kept_folder(kept))
        server = EmbeddedServer(self._home / "valkey", keep=kept is not None)
        self.server_url = self._exits.enter_context(server).url
        self._start_service()
        self._exits.callback(self.stop_callers)
        self._workers = [self._node(f"worker-{number}", *self._worker(number)) for number in range(1, self._cast.workers + 1)]
        for number in range(1, self._cast.dispatchers + 1):
            self._node(f"dispatcher-{number}", "turgor", "dispatch")
        self._wait_for_workers()

    def _start_service(self) -> None:
        options = ["--latency-ms", str(self._cast.latency_ms), "--port", str(self._cast.port)]
        service = self._start_actor("service", f"{_PACKAGE}.service", *options)
        self._exits.callback(service.kill)
        self._wait_until(lambda: re.fullmatch(r"http://\S+\n", service.log()) is not None, service.name)
        self.service_url = service.log().strip()

    def _worker(self, number: int) -> list[str]:
        name, processes = f"worker-{number}@demo", str(self._cast.processes)
        return ["worker", "--hostname", name, "--concurrency", processes, "--without-mingle", "--without-gossip"]

    def _node(self, name: str, *arguments: str) -> Actor:
        node = self._start_actor(name, "celery", "-A", f"{_PACKAGE}.app", *arguments)
        self._nodes.append(node)
        return node

    def _start_actor(self, name: str, *arguments: str) -> Actor:
        environment = {
            "CELERY_BROKER_URL": self.server_url,
            "DEMO_SERVICE_URL": self.service_url,
            "TMPDIR": str(self._temporary),  # a process that is killed leaves temporary files behind
        }
        actor = Actor(name, arguments, home=self._home, environment=environment)
        self._actors.append(actor)
        actor.start()
        return actor

    def _wait_for_workers(self) -> None:
        with Celery("stage", broker=self.server_url) as app:
            names = [f"worker-{number}@demo" for number in range(1, self._cast.workers + 1)]
            ping: Any = app.control.ping
            self._wait_until(lambda: len(ping(destination=names, timeout=_PING_S, limit=len(names))) == len(names), "a worker")

    def _wait_until(self, is_ready: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + START_S
        while not is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise StageFailed(f"{name} is not ready after {START_S:.0f} s; is this machine very busy?")
            self._interrupts.pause(_ASK_EVERY_S)


@contextlib.contextmanager
def _temporary_folder() -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="turgor-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _kept_folder(data: Path) -> Generator[Path]:
    """The folder that is kept; while the demo runs it belongs to this demo alone."""
    home = data.absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "lock").open("w")
    except OSError as error:
        raise StageFailed(f"--data {data}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StageFailed(f"--data {data}: another demo runs with it") from error
        yield home
