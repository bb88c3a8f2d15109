"""Finds out how large a worker's pool should be, in a thread of its own: Redis may take its time to answer."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from celery.utils.log import get_logger

from ..limits.server import UNAVAILABLE
from ..scheduler.desired_workers import DesiredWorkers, desired_workers
from .autoscaler import LOOK_EVERY_S
from .steady_size import SteadySize

if TYPE_CHECKING:
    from .attendant import Attendant
    from .autoscaler import Autoscaler
    from .turgor import Turgor

_LAST_SAMPLE_S = 5.0
logger = get_logger(__name__)


class PoolSampler:
    """Says what the worker can take, asks what all of them should, and suggests the autoscaler a size.

    Each second, and at once when the pool has another size, so that releases go on to where there is room now. While Redis
    is out of reach it suggests nothing: the pool keeps its size.
    """

    def __init__(self, turgor: Turgor, attendant: Attendant, autoscaler: Autoscaler) -> None:
        self._scheduler, self._attendant, self._autoscaler = turgor.scheduler, attendant, autoscaler
        self._steady = SteadySize(autoscaler.patience_s)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_reachable = True

    def run_once(self) -> DesiredWorkers:
        """Sample once."""
        own = self._attendant.attend()
        demand = self._scheduler.demand(queues=self._attendant.queues())
        answer = desired_workers(demand)
        among = sum(member.scales for member in demand.crew.values())
        wanted = answer.share_of(own.processes, among)
        bounded = min(max(wanted, self._autoscaler.min_concurrency), self._autoscaler.max_concurrency)
        self._autoscaler.suggest(self._steady.want(bounded, own.processes, time.monotonic()), answer.reason)
        return answer

    def start(self) -> None:
        if not self._autoscaler.can_scale:
            logger.warning("--autoscale: a pool of this kind cannot grow or shrink, it keeps its size")
        elif self._thread is None:
            self._thread = threading.Thread(target=self._run, name="turgor-pool-sampler", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after the sample that is under way. May be called twice, and before `start`."""
        self._stopped.set()
        self._autoscaler.resized.set()
        if self._thread is not None:
            self._thread.join(_LAST_SAMPLE_S)
            self._thread = None

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.run_once()
                self._note_reachable()
            except UNAVAILABLE as error:
                self._note_unreachable(error)
            except Exception:  # a thread that ends here would leave the pool as it is for ever, and nobody told
                self._steady.hold()
                logger.exception("The autoscaler goes on after an error")
            self._autoscaler.resized.wait(LOOK_EVERY_S)
            self._autoscaler.resized.clear()

    def _note_reachable(self) -> None:
        if not self._is_reachable:
            logger.info("Redis is back: the pool follows its work again")
        self._is_reachable = True

    def _note_unreachable(self, error: Exception) -> None:
        self._steady.hold()
        if self._is_reachable:
            logger.warning("Redis is out of reach, the pool keeps its size: %s", error)
        self._is_reachable = False
