"""Celery applications in processes of their own: started, asked, frozen and killed by a test; what their tasks wrote down."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from redis import Redis

from support import REPOSITORY, wait_until

APPS = REPOSITORY / "tests" / "worker" / "apps"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal: an execution began (`start`) or came to its end (`end`)."""

    event: str
    task: str
    id: str
    args: list[Any]
    at: float
    pid: int
    retries: int
    fence: int | None
    headers: dict[str, Any]
    queue: str
    root: str
    custom: Any
    forecast: bool | None


class Journal:
    """What the tasks of `tests/worker/apps` wrote down. A file, so it outlives workers and Redis."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read, self._entries = 0, list[Entry]()

    def entries(self) -> list[Entry]:
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                text = file.read()
            lines = text[: text.rfind(b"\n") + 1]
            self._read += len(lines)
            self._entries += (Entry(**json.loads(line)) for line in lines.splitlines())
        return self._entries

    def starts(self, task_id: str | None = None) -> list[Entry]:
        """Every start, or those of one task."""
        return [each for each in self.entries() if each.event == "start" and task_id in (None, each.id)]

    def ends(self, task_id: str | None = None) -> list[Entry]:
        return [each for each in self.entries() if each.event == "end" and task_id in (None, each.id)]


@dataclass(frozen=True)
class AppSettings:
    """How an application of `tests/worker/apps` is made. It reads this from the environment.

    Parameters
    ----------
    broker, backend:
        URLs; without a backend, results are kept where Turgor works.
    journal:
        The file that its tasks write to.
    limits, options:
        For `Turgor(app, limits, **options)`; `plain` leaves Turgor out.
    conf:
        Celery's settings, as JSON can hold them.
    queues:
        (name, exchange, type, routing key) of each of `task_queues`; type `broadcast` makes a Broadcast.
    module:
        Which of the applications.
    """

    broker: str
    journal: Path
    limits: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    conf: Mapping[str, Any] = field(default_factory=dict[str, Any])
    queues: Sequence[tuple[str, str, str, str]] = ()
    plain: bool = False
    backend: str | None = None
    module: str = "proj"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to import the application by its module's name."""
        settings = {
            "broker": self.broker,
            "backend": self.backend or self.options.get("redis", self.broker),
            "journal": str(self.journal),
            "limits": self.limits,
            "options": dict(self.options),
            "conf": dict(self.conf),
            "queues": list(self.queues),
            "plain": self.plain,
        }
        path = os.pathsep.join(filter(None, [str(APPS), os.environ.get("PYTHONPATH")]))
        return {"TURGOR_TEST_APP": json.dumps(settings), "PYTHONPATH": path}

    def load(self) -> ModuleType:
        """The application in this process, a new copy for each call, as a program that submits tasks has it."""
        spec = importlib.util.spec_from_file_location(self.module, APPS / f"{self.module}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        with mock.patch.dict(os.environ, self.environment):
            spec.loader.exec_module(module)
        return module

    @property
    def redis_url(self) -> str:
        """Where Turgor works, as redis-py writes it."""
        url: str = self.options.get("redis", self.broker)
        return url.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")

    def but(self, **changes: Any) -> AppSettings:
        """The same with changes. `options` are added to those there are."""
        if "options" in changes:
            changes["options"] = {**self.options, **changes["options"]}
        return replace(self, **changes)

    def on(self, broker: str, redis: str) -> AppSettings:
        """The same with another broker, and Turgor in `redis`."""
        return self.but(broker=broker, options={"redis": redis})


class Process:
    """A process of the tests' own, with all that it starts: a group that can be frozen and killed as one.

    Parameters
    ----------
    command:
        Arguments for this Python.
    environment:
        What is different from this process's environment.
    log:
        File for its output.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.command = [sys.executable, *command]
        self._environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._begin, self._is_asked = 0, False

    def start(self, ready: str | None = None) -> None:
        """Start, and wait until the log has the text `ready`."""
        self._begin = self._log.stat().st_size if self._log.exists() else 0
        self._is_asked = False
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        if ready is not None:
            wait_until(
                lambda: ready in self.log or not self.is_alive, description=f"{self.command[1:6]} says {ready!r}", timeout=30
            )
            assert self.is_alive, self.log

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has said since it was last started."""
        return self._log.read_bytes()[self._begin :].decode(errors="replace")

    def terminate(self) -> None:
        """Ask the process, not its children, to end. Asking twice is asking once."""
        if not self._is_asked:
            self._is_asked = True
            self.thaw()
            os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout: float = 20.0) -> int:
        assert self._process is not None
        return self._process.wait(timeout)

    def stop(self, timeout: float = 20.0) -> None:
        """End it gracefully, or not if it will not. May be called twice."""
        if not self.is_alive:
            return
        self.terminate()
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """`kill -9` for the whole group."""
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def freeze(self) -> None:
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)


class CeleryWorker(Process):
    """A real `celery worker`.

    Parameters
    ----------
    settings:
        Its application.
    log:
        File for its output.
    name:
        Its node name is `name@test`.
    pool, concurrency, options:
        As the command line has them.
    """

    def __init__(
        self,
        settings: AppSettings,
        log: Path,
        *,
        name: str = "worker",
        pool: str = "prefork",
        concurrency: int = 2,
        options: Sequence[str] = (),
    ) -> None:
        command = ["-m", "celery", "-A", settings.module, "worker", "-n", f"{name}@test", "-l", "INFO", "-P", pool]
        command += ["-c", str(concurrency), "--without-gossip", "--without-mingle", *options]
        super().__init__(command, settings.environment, log)

    def start(self, ready: str | None = " ready.") -> None:
        super().start(ready)


def leftovers(client: Any, prefix: str) -> dict[str, Any]:
    """What a realm still holds of its work: empty when every task has ended and gave back what it had.

    Definitions, fences, window counts that time will clear and the workers' register are no work.
    """
    left: dict[str, Any] = {}
    for kind in ("message", "lease", "unclaimed", "redelivered"):
        if fields := client.hgetall(f"{prefix}:{kind}"):
            left[kind] = fields
    for kind in ("leases", "delayed", "ready", "releasing"):
        if members := client.zrange(f"{prefix}:{kind}", 0, -1):
            left[kind] = members
    for key in client.scan_iter(f"{prefix}:*"):
        name = key.decode().removeprefix(f"{prefix}:")
        if name.startswith(("lane:", "gate:")) or name.endswith(":in_flight"):
            left[name] = client.type(key)
        elif "/" in name.rpartition(":")[2] and name.startswith("limit:"):
            held = _units_held(client.get(key))
            if held:
                left[name] = f"{held} held"
    return left


def _units_held(window: bytes | None) -> float:
    """The units of a sliding window that tasks hold which have not started; `limits/lua/parts/window.lua` packs them."""
    return struct.unpack_from("<dd", window)[1] if window else 0


@dataclass
class Crew:
    """An application, a worker of it, and what its tasks wrote down."""

    settings: AppSettings
    proj: ModuleType
    worker: CeleryWorker
    journal: Journal
    client: Any  # of bytes, which redis-py's types do not know

    @classmethod
    def of(cls, settings: AppSettings, log: Path, **options: Any) -> Crew:
        """A crew whose worker is not started yet; `options` are its worker's."""
        worker = CeleryWorker(settings, log, **options)
        return cls(settings, settings.load(), worker, Journal(settings.journal), Redis.from_url(settings.redis_url))

    def leftovers(self) -> dict[str, Any]:
        return leftovers(self.client, self.proj.turgor.keys.prefix)

    def wait_until_idle(self, timeout: float = 10.0) -> None:
        wait_until(lambda: not self.leftovers(), description="the realm holds no work any more", timeout=timeout)

    def start_of(self, task_id: str, *, timeout: float = 10.0) -> Entry:
        """The last start of a task, as soon as there is one."""
        return wait_until(lambda: self.journal.starts(task_id), description=f"{task_id} starts", timeout=timeout)[-1]


Hire = Callable[..., Crew]


def dismiss(crews: Collection[Crew]) -> None:
    """End the workers of these crews at once, and what this process listens to for them."""
    for crew in crews:
        if crew.worker.is_alive:
            crew.worker.kill()
        consumer = crew.proj.app.backend.result_consumer
        consumer.stop()
        if hasattr(consumer, "subscribed_to"):
            consumer.subscribed_to.clear()  # results that nobody waited for would unsubscribe when the server is gone
