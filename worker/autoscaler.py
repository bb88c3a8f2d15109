"""`celery worker --autoscale=MAX,MIN` in an app with Turgor: the pool follows the work that has use for it.

Celery's own autoscaler counts messages, and so grows for work that a limit holds. This one is told by `PoolSampler`
how large the pool should be. Celery calls `maybe_scale` in the event loop, on every message: there nothing
waits, and nothing is raised, which would end the worker.
"""

from __future__ import annotations

import threading
from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.utils.log import get_logger
from celery.worker import autoscale

from .retirement import retire

CELERYS_OWN = "celery.worker.autoscale:Autoscaler"
LOOK_EVERY_S = 1.0
logger = get_logger(__name__)


class Autoscaler(autoscale.Autoscaler):
    """The `worker_autoscaler` of workers with Turgor. Its arguments are those of Celery's own.

    Only processes that have nothing to do are taken out, and what the worker prefetches follows the size of the pool.
    """

    def __init__(  # noqa: PLR0917  as Celery calls it
        self,
        pool: Any,
        max_concurrency: int,
        min_concurrency: int = 0,
        worker: Any = None,
        keepalive: float = autoscale.AUTOSCALE_KEEPALIVE,
        mutex: Any = None,
    ) -> None:
        super().__init__(pool, max_concurrency, min_concurrency, worker, keepalive, mutex)
        self.patience_s = keepalive
        self.keepalive = LOOK_EVERY_S  # in the event loop Celery calls `maybe_scale` so often
        self.resized = threading.Event()
        self.reason = ""
        self._size: int | None = None
        self._is_broken = False

    def suggest(self, size: int, reason: str) -> None:
        """Say, from any thread, which size the pool should have when the event loop next looks."""
        self._size, self.reason = size, reason

    def start_small(self) -> None:
        """Prefetch for the processes that are there. Celery prefetches for the largest pool from the start."""
        consumer = self.worker.consumer
        consumer.initial_prefetch_count = max(1, self.processes) * consumer.prefetch_multiplier

    @property
    def can_scale(self) -> bool:
        """Whether the pool is of a kind that can grow and shrink. Known once it has started."""
        return hasattr(self.pool, "grow") and hasattr(self.pool, "shrink")

    @property
    def qty(self) -> int:
        """The size that was last suggested; Celery shows it in `inspect stats`."""
        return self.processes if self._size is None else self._size

    def info(self) -> dict[str, Any]:
        return {**super().info(), "reason": self.reason}

    def maybe_scale(self, req: Any = None) -> None:
        try:
            size, self._size = self._size, None
            if size is not None and size != self.processes:
                self._resize(min(max(size, self.min_concurrency), self.max_concurrency))
        except Exception:
            if not self._is_broken:
                logger.exception("The pool keeps its size for now")
            self._is_broken = True
        else:
            self._is_broken = False

    def _resize(self, size: int) -> None:
        before = self.processes
        if size > before:
            self._grow(size - before)
        elif size < before:
            self._shrink(before - size)
        if self.processes != before:
            self.pool.maintain_pool()
            self.resized.set()

    def _grow(self, n: int) -> None:
        logger.info("Scaling up %s processes to %s: %s", n, self.processes + n, self.reason)
        self.pool.grow(n)
        self._prefetch(n)

    def _shrink(self, n: int) -> None:
        """As many of them as have nothing to do."""
        before = self.processes
        if isinstance(getattr(self.pool, "_pool", None), AsynPool):
            retire(self.pool._pool, self.worker.hub, n)
        else:
            super()._shrink(n)
        if retired := before - self.processes:
            logger.info("Scaling down %s processes to %s", retired, self.processes)
            self._prefetch(-retired)

    def _prefetch(self, change: int) -> None:
        if self.worker.consumer.qos is not None:
            self.worker.consumer._update_prefetch_count(change)

    def _update_consumer_prefetch_count(self, new_max: int) -> None:
        """A new maximum changes nothing yet: what is prefetched follows the pool."""
