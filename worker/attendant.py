"""Speaks for a worker: says that it lives and what it can take, renews its leases, passes on its reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from queue import Empty
from typing import TYPE_CHECKING, Any

from celery.utils.log import get_logger
from celery.worker import state

from ..limits.server import UNAVAILABLE
from ..scheduler.demand import Presence
from .autoscaler import Autoscaler
from .claims import finish
from .request import lease_of

if TYPE_CHECKING:
    from .turgor import Turgor

ATTEND_EVERY_S = 5.0
SILENCE_S = 20.0
_UNBOUNDED_PREFETCH = 4
logger = get_logger(__name__)


class Attendant:
    """The worker's voice, in a thread of its own, so that a busy worker is not taken for a dead one.

    Parameters
    ----------
    turgor:
        The app's Turgor.
    worker:
        Celery's `WorkController`.
    """

    def __init__(self, turgor: Turgor, worker: Any) -> None:
        self._turgor, self._worker = turgor, worker
        self._scheduler = turgor.scheduler
        self._every_s = min(ATTEND_EVERY_S, self._scheduler.lease_s / 3, self._scheduler.claim_within_s / 3)
        self._leaving = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._attend(self._slots(), self.presence())
            self._thread = threading.Thread(target=self._run, name="turgor-attendant", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Say goodbye: nothing more is released for this worker. May be called twice, and before `start`.

        Returns at once. The thread goes on until the tasks that still run have ended, because a warm
        shutdown waits for them, and their leases must not lapse meanwhile.
        """
        if self._thread is not None and not self._leaving.is_set():
            self._leaving.set()
            self._turgor.ended.put(None)
            self._attend(dict.fromkeys(self._slots(), 0), self.presence())

    def run_once(self) -> int:
        """Attend once and renew every lease that the worker holds. Returns the number of leases renewed."""
        if not self._leaving.is_set():
            self._attend(self._slots(), self.presence())
            # As long as it lives, the limits that it brings are not old; see bring.lua.
            self._turgor.view.config()
        return self._scheduler.renew(self._leases())

    def _run(self) -> None:
        next_at = time.monotonic()
        while not self._leaving.is_set() or self._leases():
            try:
                if time.monotonic() >= next_at:
                    next_at = time.monotonic() + self._every_s
                    self.run_once()
                self._report(max(0.0, next_at - time.monotonic()))
            except UNAVAILABLE as error:
                logger.warning("Redis is out of reach: %s", error)
                time.sleep(1.0)
            except Exception:  # whatever it is, the leases of all that runs here must be renewed
                logger.exception("The attendant goes on after an error")
                time.sleep(1.0)

    def _report(self, wait_s: float) -> None:
        try:
            end = self._turgor.ended.get(timeout=wait_s)
        except Empty:
            return
        if end is not None:
            try:
                if end.goes_back:
                    self._scheduler.put_back(end.task, end.fence)
                else:
                    finish(self._turgor, end.task, end.fence, end.service, end.outcome)
            except Exception:
                self._turgor.ended.put(end)
                raise

    def attend(self) -> Presence:
        """Say what the worker can take now. Raises what the server does not answer."""
        presence = self.presence()
        self._scheduler.attend(self._worker.hostname, self._slots(), presence=presence, silence_s=SILENCE_S)
        return presence

    def queues(self) -> list[str]:
        """The broker queues that the worker takes from."""
        return [self._turgor.broker_key(name) for name in list(self._turgor.app.amqp.queues.consume_from)]

    def presence(self) -> Presence:
        """What the worker does at this moment."""
        running, now = _copy(state.active_requests), time.time()
        ages = [now - request.time_start for request in running if request.time_start is not None]
        held = sum(1 for request in set(_copy(state.reserved_requests)).difference(running) if not lease_of(request))
        age_us = round(max(0.0, sum(ages)) / len(ages) * 1_000_000) if ages else 0
        return Presence(self._processes(), len(running), held, age_us, int(self._autoscaler() is not None))

    def _attend(self, slots: dict[str, int], presence: Presence) -> None:
        try:
            self._scheduler.attend(self._worker.hostname, slots, presence=presence, silence_s=SILENCE_S)
        except UNAVAILABLE as error:
            logger.warning("Redis is out of reach: %s", error)

    def _slots(self) -> dict[str, int]:
        """How many tasks the worker takes from each of its queues: what it would prefetch."""
        multiplier = self._turgor.app.conf.worker_prefetch_multiplier or _UNBOUNDED_PREFETCH
        return dict.fromkeys(self.queues(), max(1, round(max(1, self._processes()) * multiplier)))

    def _processes(self) -> int:
        """How many tasks the worker can run at a time. Celery's own autoscaler says what that may become."""
        scaler = self._autoscaler()
        return scaler.processes if scaler else self._worker.max_concurrency or self._worker.concurrency or 1

    def _autoscaler(self) -> Autoscaler | None:
        scaler = getattr(self._worker, "autoscaler", None)
        return scaler if isinstance(scaler, Autoscaler) and scaler.can_scale else None

    @staticmethod
    def _leases() -> list[tuple[str, int]]:
        return [lease for request in _copy(state.reserved_requests) if (lease := lease_of(request))]


def _copy(requests: Iterable[Any]) -> list[Any]:
    """The requests of a set that is the main thread's, which may add one while it is read."""
    while True:
        try:
            return list(requests)
        except RuntimeError:
            continue
