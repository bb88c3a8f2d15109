"""Relief is what the gate does for a service under pressure: it refuses new work, or takes cheaper work in its place.

Only for work that is new. What was accepted before goes on as it was promised: retries, and what follows a task in a chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..limits.degradation import DegradationStep, step_for
from .continuation import goes_on, repeats
from .errors import ServiceUnderPressure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..limits.degradation import Pressure
    from .caller import Call
    from .turgor import Turgor

DEGRADED_HEADER = "degraded_from"
SHED, DEGRADED = "shed", "degraded"
_KEPT = ("loop", "loop_type", "priority", "max_wait", "deadline")


class Decision(NamedTuple):
    """What a step says of a call, and why."""

    step: DegradationStep
    pressure: Pressure


class Relief:
    """Decides what becomes of calls, and counts what it has changed.

    Parameters
    ----------
    turgor:
        The app's Turgor.
    """

    def __init__(self, turgor: Turgor) -> None:
        self._turgor = turgor

    def decide(self, call: Call, headers: Mapping[str, Any], queue: str) -> Decision | None:
        """What is to be done with a call that is about to be submitted; None for what is always done.

        Parameters
        ----------
        call, headers:
            The call, and the headers of its message.
        queue:
            Where it will go.
        """
        steps = self._turgor.view.config().degradation_of(call.service)
        if not steps or headers.get("eta") or headers.get(DEGRADED_HEADER) or repeats(headers):
            return None
        lane = call.lane(self._turgor.broker_key(queue), limited=True)
        pressure = self._turgor.pressures.of_lane(lane, weight=call.weight, tokens=call.tokens or 0)
        step = step_for(steps, pressure, lane.priority)
        if step is None or step.hold or goes_on():
            return None
        return Decision(step, pressure)

    def refuse(self, task: str, call: Call, pressure: Pressure, priority: int) -> ServiceUnderPressure:
        """The error for who submits work that is shed."""
        self._count(call.service, SHED)
        return ServiceUnderPressure(task, call.service, priority, str(pressure), pressure.retry_after_s)

    def replace(self, fallback: str, call: Call, message: Any, options: dict[str, Any]) -> None:
        """Make the message one of the `fallback`: same id, arguments and callbacks, and what the caller said of itself."""
        self._count(call.service, DEGRADED)
        app = self._turgor.app
        for stated in (message.headers, message.sent_event or {}):
            stated["task" if stated is message.headers else "name"] = fallback
        message.headers[DEGRADED_HEADER] = options.pop("shadow", None) or call.task
        for place in ("queue", "exchange", "routing_key"):
            options.pop(place, None)
        options.update(app.amqp.router.route({}, fallback))
        options.update({name: value for name, value in call.headers.items() if name in _KEPT})

    def _count(self, service: str, what: str) -> None:
        self._turgor.client.hincrby(self._turgor.keys("degraded"), f"{service} {what}")
