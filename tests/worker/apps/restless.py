"""An autoscaler that grows and shrinks its pool all the time, whatever there is to do."""

from __future__ import annotations

import time
from typing import Any

from turgor.worker import Autoscaler

EVERY_S = 0.1


class Restless(Autoscaler):
    """Between its minimum and its maximum, at most ten times a second; Celery asks on each message."""

    _next_at = 0.0

    def suggest(self, size: int, reason: str) -> None:
        """What would be right is not asked for."""

    def maybe_scale(self, req: Any = None) -> None:
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + EVERY_S
            is_small = self.processes < self.max_concurrency
            super().suggest(self.max_concurrency if is_small else self.min_concurrency, "restless")
        super().maybe_scale(req)
