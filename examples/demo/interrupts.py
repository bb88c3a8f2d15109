"""Interrupts: Ctrl-C, SIGTERM and a closed terminal, turned from exceptions anywhere into an answer to a wait."""

from __future__ import annotations

import signal
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Interrupted(Exception):
    """Somebody asked the demo to end before it had begun."""


class Interrupts:
    """A context in which those signals do nothing but end the waits made here. Belongs to the main thread."""

    def __init__(self) -> None:
        # The one queue whose `put` is safe inside a signal handler.
        self._received: SimpleQueue[int] = SimpleQueue()
        self._seen = False
        self._before: dict[int, Any] = {}

    def wait(self, seconds: float) -> bool:
        """Wait, and say whether there was an interrupt, now or before."""
        if not self._seen:
            try:
                self._received.get(timeout=max(0.0, seconds))
            except Empty:
                return False
            self._seen = True
        return True

    def pause(self, seconds: float) -> None:
        """Wait, and raise `Interrupted` if there was one."""
        if self.wait(seconds):
            raise Interrupted

    def hurry(self) -> bool:
        """Whether there was another one since the last wait has ended."""
        return not self._received.empty()

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._received.put(number)
