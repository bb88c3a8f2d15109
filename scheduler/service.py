"""A service works until it is stopped, and sleeps until the next thing is due or somebody rings."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from .bell import Bell

LONGEST_SLEEP_S = 1.0


class Service(ABC):
    """What a dispatcher and a publisher have in common.

    Parameters
    ----------
    name:
        Of its thread.
    bell:
        Wakes it.
    """

    def __init__(self, name: str, bell: Bell) -> None:
        self._name, self._bell = name, bell
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def run(self) -> None:
        """Work until `stop`."""

    def start(self) -> None:
        """Run in a thread of its own."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after what is under way. May be called twice, and before `start`."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def _sleep(self, next_in_s: float | None) -> None:
        sleep_s = LONGEST_SLEEP_S if next_in_s is None else min(next_in_s, LONGEST_SLEEP_S)
        if sleep_s > 0 and not self._stopped.is_set():
            self._bell.wait(sleep_s)
