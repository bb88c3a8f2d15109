"""Real workers, each a process of its own, and the application that gives them work."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, TracebackType
from typing import Any, Self, cast
from unittest import mock

from apps import QUEUE
from redis import Redis

from turgor.limits.keys import Keys

_HERE = Path(__file__).parent
_PATIENCE_S = 120.0


def wait_until(reached: Callable[[], bool], what: str, *, every_s: float = 0.005) -> None:
    give_up_at = time.monotonic() + _PATIENCE_S
    while not reached():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {_PATIENCE_S:g} s: {what}")
        time.sleep(every_s)


class Crew:
    """Workers of one application, as long as the context lasts.

    Parameters
    ----------
    broker:
        The URL.
    limits:
        Tables as `limits.toml` has them; None for plain Celery.
    nodes, processes:
        Workers, and the processes of each.
    options:
        More of what the command line of a worker takes.
    lease_all:
        As `Turgor` has it.
    """

    def __init__(
        self,
        broker: str,
        limits: dict[str, Any] | None,
        *,
        nodes: int = 1,
        processes: int = 2,
        options: Sequence[str] = (),
        lease_all: bool = False,
    ) -> None:
        self._folder = TemporaryDirectory(prefix="turgor-bench-")
        self._journal = Path(self._folder.name, "journal")
        settings = json.dumps({"broker": broker, "limits": limits, "lease_all": lease_all, "journal": str(self._journal)})
        self._environment = {"TURGOR_BENCH_APP": settings}
        self._nodes, self._processes, self._options = nodes, processes, options
        self._workers: list[subprocess.Popen[bytes]] = []
        self._keys = Keys()
        self.client = Redis.from_url(broker)
        self.application = self._load()

    def __enter__(self) -> Self:
        try:
            self._workers = [self._start(number) for number in range(self._nodes)]
            self.wait_until_ready()
        except BaseException as error:
            error.add_note("\n".join(self._log(number).read_text() for number in range(len(self._workers))))
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.thaw()
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
        self._workers = []
        self._folder.cleanup()

    def wait_until_ready(self) -> None:
        wait_until(lambda: len(self.starts()) == self._nodes, "each worker says that it is ready")
        self.forget()

    def starts(self) -> list[tuple[int, float]]:
        """The number of each task that has noted its start, and when: seconds since the epoch."""
        lines = self._journal.read_text().splitlines()
        return [(int(number), int(time_ns) / 1e9) for number, time_ns in map(str.split, lines)]

    def forget(self) -> None:
        os.truncate(self._journal, 0)

    def freeze(self) -> None:
        """Stop the workers where they are, while they are given work."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def wait_until_drained(self) -> None:
        """Wait until no task waits, lies in the broker's queue or is in a worker's hands."""
        wait_until(lambda: not self.left(), "all work is done")

    def cpu_s(self) -> float:
        """The CPU time that the workers' processes have had. Linux only."""
        groups = {worker.pid for worker in self._workers}
        spent = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[2]) in groups:
                    spent += int(fields[11]) + int(fields[12])
        return spent / os.sysconf("SC_CLK_TCK")

    def left(self) -> int:
        pipe = self.client.pipeline(transaction=False)
        pipe.hlen(self._keys("message"))
        pipe.llen(QUEUE)
        pipe.hlen("unacked")
        return sum(cast("list[int]", pipe.execute()))

    def fence(self) -> int:
        """The number of the last release."""
        return int(cast("bytes", self.client.get(self._keys("fence")) or 0))

    def resident(self) -> int:
        """Bytes of memory that the workers have, all their processes together."""
        groups = {worker.pid for worker in self._workers}
        pages = 0
        for process in Path("/proc").iterdir():
            try:
                if process.name.isdigit() and os.getpgid(int(process.name)) in groups:
                    pages += int((process / "statm").read_text().split()[1])
            except (ProcessLookupError, FileNotFoundError):  # it has just ended
                continue
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _load(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("application", _HERE / "application.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        with mock.patch.dict(os.environ, self._environment):
            spec.loader.exec_module(module)
        return module

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "celery", "-A", "application", "worker", "-n", f"node-{number}@bench"]
        command += ["-c", str(self._processes), "--without-gossip", "--without-mingle", *self._options]
        path = os.pathsep.join(filter(None, [str(_HERE), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, **self._environment, "PYTHONPATH": path}
        with self._log(number).open("wb") as log:
            return subprocess.Popen(command, cwd=_HERE, env=environment, stdout=log, stderr=log, start_new_session=True)

    def _log(self, number: int) -> Path:
        return Path(self._folder.name, f"node-{number}.log")

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            os.killpg(worker.pid, number)
