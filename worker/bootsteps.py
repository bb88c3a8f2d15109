"""What Turgor adds to a Celery worker: guarded tasks, an attendant, a dispatcher, and a publisher where the broker is elsewhere."""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.signals import task_rejected, task_unknown
from celery.utils.log import get_logger

from ..limits.errors import TurgorError
from .attendant import Attendant
from .autoscaler import CELERYS_OWN, Autoscaler
from .claims import guard_tasks
from .declared import unknown_fallbacks
from .pool_sampler import PoolSampler
from .request import End, lease_in, report_ends

logger = get_logger(__name__)


class TurgorStep(bootsteps.StartStopStep):
    """Starts after the pool has forked and before the worker consumes; stops between the two as well."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        turgor = worker.app.turgor
        try:
            turgor.start()
        except TurgorError as error:
            # Celery would bury the reason in a traceback.
            logger.critical("%s", error)
            raise SystemExit(1) from error
        self._turgor = turgor
        for line in unknown_fallbacks(worker.app, turgor.view.config()):
            logger.warning("%s", line)
        for task in worker.app.tasks.values():
            report_ends(task)
        guard_tasks(worker.app)
        # Celery makes the autoscaler later than this, if it was asked for one.
        if worker.autoscaler_cls == CELERYS_OWN:
            worker.autoscaler_cls = Autoscaler
        # What the worker cannot even begin is over, or it would come back for ever.
        task_unknown.connect(self._report_refused)
        task_rejected.connect(self._report_refused)
        self._services: list[Any] = []

    def _report_refused(self, message: Any, **_: Any) -> None:
        if lease := lease_in(message.headers or {}):
            self._turgor.ended.put(End(*lease))

    def start(self, worker: Any) -> None:
        on_decode_error = worker.consumer.on_decode_error

        def report_undecodable(message: Any, exc: Exception) -> None:
            on_decode_error(message, exc)
            self._report_refused(message)

        worker.consumer.on_decode_error = report_undecodable
        attendant = Attendant(self._turgor, worker)
        self._services = [attendant]
        if isinstance(getattr(worker, "autoscaler", None), Autoscaler):
            worker.autoscaler.start_small()
            self._services.append(PoolSampler(self._turgor, attendant, worker.autoscaler))
        if self._turgor.runs_dispatcher:
            self._services.append(self._turgor.dispatcher())
        if publisher := self._turgor.publisher():
            self._services.append(publisher)
        for service in self._services:
            service.start()

    def stop(self, worker: Any) -> None:
        while self._services:
            self._services.pop().stop()

    terminate = stop


STEPS: dict[str, tuple[type[bootsteps.Step], ...]] = {"worker": (TurgorStep,)}
