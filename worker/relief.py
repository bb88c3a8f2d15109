"""Relief is what the gate does for a service under pressure: it refuses new work, or takes cheaper work in its place.

Only for work that is new. What was accepted before goes on as it was promised: retries, and what follows a task in a chain.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ..limits.degradation import DegradationStep, step_for
from ..limits.server import UNREACHABLE
from .continuation import goes_on, repeats
from .errors import ServiceUnderPressure
from .statistics import RELIEVED

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
    priority: int


class Relief:
    """Decides what becomes of calls, and counts what it has changed.

    Parameters
    ----------
    turgor:
        The app's Turgor.
    """

    def __init__(self, turgor: Turgor) -> None:
        self._turgor = turgor

    def decide(self, name: str, call: Call, headers: Mapping[str, Any], queue: str) -> Decision | None:
        """What is to be done with a call that is about to be submitted; None for what is always done.

        Parameters
        ----------
        name, call, headers:
            The task, the call, and the headers of its message.
        queue:
            Where it will go.
        """
        steps = self._turgor.view.config().degradation_of(call.service)
        if not steps or headers.get("eta") or headers.get(DEGRADED_HEADER) or repeats(headers):
            return None
        lane = call.lane(self._turgor.broker_key(queue), limited=True)
        try:
            pressure = self._turgor.pressures.of_lane(lane, weight=call.weight, tokens=call.tokens or 0)
        except UNREACHABLE:  # the submit that follows tells it
            return None
        step = step_for(steps, pressure, lane.priority)
        if step is None or step.hold or step.degrade_to == name or goes_on():
            return None
        return Decision(step, pressure, lane.priority)

    def refuse(self, task: str, call: Call, decision: Decision) -> ServiceUnderPressure:
        """The error for who submits work that is shed."""
        self._count(call.service, SHED)
        pressure = decision.pressure
        return ServiceUnderPressure(task, call.service, decision.priority, str(pressure), pressure.retry_after_s)

    def replace(self, name: str, fallback: str, call: Call, message: Any, options: dict[str, Any]) -> None:
        """Make the message of the task `name` one of the `fallback`.

        Its id, its arguments and its callbacks stay, and so does what the caller said of itself. It goes where the
        fallback's own route leads, and costs what the fallback declares.
        """
        self._count(call.service, DEGRADED)
        message.headers.update({"task": fallback, DEGRADED_HEADER: name})
        if message.sent_event:
            message.sent_event["name"] = fallback
        for place in ("queue", "exchange", "routing_key"):
            options.pop(place, None)
        options.update(self._turgor.app.amqp.router.route({}, fallback))
        options.update({option: value for option, value in call.headers.items() if option in _KEPT})
        options["coalesce"] = call.coalesce

    def _count(self, service: str, what: str) -> None:
        with suppress(UNREACHABLE):
            self._turgor.client.hincrby(self._turgor.keys(RELIEVED), f"{service} {what}")
