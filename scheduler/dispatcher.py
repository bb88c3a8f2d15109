"""Dispatches: releases what may run, then sleeps until the next thing is due or somebody rings."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..limits.server import UNAVAILABLE
from .bell import Bell
from .expired_task import ExpiredTask
from .scheduler import Dispatched, Scheduler
from .service import Service

logger = logging.getLogger(__name__)

# The script bounds its own time; this bounds what it must have read and remember.
BUDGET = 200
RECONNECT_S = 1.0


class Dispatcher(Service):
    """One dispatcher. Any number may run, in threads, processes and machines.

    Parameters
    ----------
    scheduler:
        The realm's scheduler.
    on_expired:
        Tells the caller of a task that it waited too long. Where it raises, it is asked again later.
    """

    def __init__(self, scheduler: Scheduler, on_expired: Callable[[ExpiredTask], None]) -> None:
        self._scheduler, self._on_expired = scheduler, on_expired
        super().__init__("turgor-dispatcher", Bell(scheduler.client, scheduler.keys("bell")))
        self._reachable = True

    def run_once(self) -> Dispatched:
        """Release what may run now, in one bounded call."""
        dispatched = self._scheduler.dispatch(BUDGET)
        if dispatched.expired:
            self._settle()
        return dispatched

    def run(self) -> None:
        """Dispatch until `stop`. A server that goes away is waited for."""
        while not self._stopped.is_set():
            try:
                dispatched = self.run_once()
                self._note_reachable()
                self._sleep(dispatched.next_in_s)
            except UNAVAILABLE as error:
                self._note_unreachable(error)
                self._stopped.wait(RECONNECT_S)
            except Exception:  # a thread that ends here would leave the workers idle, and nobody told
                logger.exception("The dispatcher goes on after an error")
                self._stopped.wait(RECONNECT_S)
        self._bell.close()

    def _settle(self) -> None:
        for expired in self._scheduler.expired():
            try:
                self._on_expired(expired)
            except Exception:
                logger.exception("Task %s waited too long, and its caller could not be told", expired.task)
            else:
                self._scheduler.settle(expired.task)

    def _note_reachable(self) -> None:
        if not self._reachable:
            logger.info("Redis is back: dispatching")
            self._reachable = True

    def _note_unreachable(self, error: Exception) -> None:
        if self._reachable:
            logger.error("Redis is out of reach, waiting for it: %s", error)
            self._reachable = False
