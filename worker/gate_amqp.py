"""How an app's publishing comes to lead through the gate: a subclass of Celery's AMQP class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery.app.amqp import AMQP
from kombu import Producer
from kombu.utils.objects import cached_property

from .gate import Gate
from .purge import PurgingConnection

if TYPE_CHECKING:
    from celery import Celery

    from .turgor import Turgor


class GateAMQP(AMQP):
    """`app.amqp` of an app with Turgor."""

    @cached_property
    def Connection(self) -> type[PurgingConnection]:  # noqa: N802  # pyright: ignore[reportIncompatibleVariableOverride]
        return type("PurgingConnection", (PurgingConnection,), {"turgor": self.app.turgor})

    @cached_property
    def send_task_message(self) -> Callable[..., Any]:
        send = self._create_task_sender()
        gate = Gate(self.app.turgor)

        def send_task_message(producer: Producer, name: str, message: Any, **options: Any) -> Any:
            gated, name = gate.admit(producer, name, message, options)
            return send(gated, name, message, **options)

        return send_task_message


@dataclass(frozen=True)
class GatedAMQP:
    """Makes `app.amqp`. Goes with the app into a pool process that is spawned, where the app arrives without its Turgor.

    Parameters
    ----------
    base:
        The AMQP class that the app had.
    install:
        Gives an app its Turgor.
    arguments:
        With these.
    """

    base: type[AMQP]
    install: Callable[..., Turgor]
    arguments: dict[str, Any]

    def __call__(self, app: Celery) -> AMQP:
        if getattr(app, "turgor", None) is None:
            app.amqp_cls = self.base
            self.install(app, **self.arguments)
        return type("GateAMQP", (GateAMQP, self.base), {})(app)
