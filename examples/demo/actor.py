"""An actor is one process of the demo: it has a name, a log, and a session of its own.

The session keeps a Ctrl-C of the terminal away, so that the stage decides who stops when; and all of its processes
can be killed at once, so that nothing is left behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from turgor.limits.errors import TurgorError


class ActorEnded(TurgorError):
    """A process of the demo has ended before its time. The message has the end of its log."""


class Actor:
    """`python -m …` as a process.

    Parameters
    ----------
    name:
        What messages and the log's file name call it.
    arguments:
        What follows `python -m`.
    home:
        Where it runs and logs.
    environment:
        Variables in addition to this process's own. What those say to Celery about other brokers and results is left out.
    """

    def __init__(self, name: str, arguments: Sequence[str], *, home: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self._command = [sys.executable, "-m", *arguments]
        self._home, self._log = home, home / f"{name}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_")}
        self._environment = {**inherited, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603  this interpreter, with arguments of our own
                self._command,
                cwd=self._home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise `ActorEnded` if it does not run."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise ActorEnded(f"{self.name} has ended ({_cause(status)}): {self._last_words()}")

    def log(self) -> str:
        """What it has written since its last start."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def ask_to_stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within so many seconds."""
        deadline = time.monotonic() + seconds
        while self._process is not None and self._process.poll() is None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def kill(self) -> None:
        """`kill -9` for everything in its session. Does nothing if all has ended."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.log().splitlines() if line.strip()]
        return lines[-1] if lines else "it wrote nothing"


def _cause(status: int) -> str:
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name
