"""A realm's workload as Prometheus gauges: what waits, what may run, and how many workers it has use for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ..scheduler.desired_workers import Binding, DesiredWorkers

DESIRED = "turgor_desired_workers"
_GAUGES: tuple[tuple[str, str, Callable[[DesiredWorkers], float]], ...] = (
    (DESIRED, "Tasks that should be able to run at a time.", lambda answer: answer.desired),
    ("turgor_workers", "Tasks that can run at a time: the processes of the workers that live.", lambda answer: answer.processes),
    ("turgor_running", "Tasks that run.", lambda answer: answer.running),
    ("turgor_ready", "Tasks that are released, or unlimited, and do not run yet.", lambda answer: answer.ready),
    ("turgor_waiting", "Tasks that wait for their limits or for a worker.", lambda answer: answer.waiting),
    ("turgor_releasable", "Those of them that the limits will admit until the horizon.", lambda answer: answer.releasable),
    (
        "turgor_limit_bound",
        "1 if a limit is what binds, and not the workers, else 0.",
        lambda answer: answer.binding is Binding.LIMIT,
    ),
)


class Workload(Collector):
    """Collects anew for each scrape.

    Parameters
    ----------
    look:
        Gives the answer of this moment. What it raises ends the scrape: a figure that is not known is not shown.
    """

    def __init__(self, look: Callable[[], DesiredWorkers]) -> None:
        self._look = look

    def collect(self) -> Iterable[GaugeMetricFamily]:
        answer = self._look()
        for name, text, value in _GAUGES:
            yield GaugeMetricFamily(name, text, value(answer))

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Known without asking the server."""
        return [GaugeMetricFamily(name, text) for name, text, _ in _GAUGES]
