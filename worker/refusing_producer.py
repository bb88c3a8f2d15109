"""Stands in for kombu's producer for one task that is not to be published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .batch import Batch

if TYPE_CHECKING:
    from kombu import Producer

    from .errors import ServiceUnderPressure


class RefusingProducer:
    """Stands in for kombu's producer for one task that is shed."""

    def __init__(self, producer: Producer | Batch, refusal: ServiceUnderPressure) -> None:
        self._producer, self._refusal = producer, refusal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, *_: Any, **__: Any) -> None:
        """Raise, or write it down if there is a batch."""
        self.publish = self._producer.publish  # the events that follow are not the task
        if not isinstance(self._producer, Batch):
            raise self._refusal
        self._producer.refuse(self._refusal)
