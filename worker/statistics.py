"""What a realm knows of its own work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from ..limits.keys import Keys
    from ..limits.lua import Client
    from ..scheduler.forecast_book import ForecastStatistics

RELIEVED = "degraded"


@dataclass(frozen=True, slots=True)
class Relieved:
    """How often a service was relieved of work since the realm began: submits that were shed, and those that were degraded."""

    shed: int = 0
    degraded: int = 0

    def __str__(self) -> str:
        return f"{self.shed} shed, {self.degraded} degraded"


@dataclass(frozen=True, slots=True)
class TurgorStatistics:
    """The answer of `Turgor.statistics`, for the whole cluster.

    Parameters
    ----------
    forecasts:
        How good the expected starts were that `Loop.submit` has given.
    relieved:
        What services under pressure were relieved of, by service.
    unleased:
        Messages that an app with `lease_all` has refused and kept, because they had no lease.
    """

    forecasts: ForecastStatistics
    relieved: Mapping[str, Relieved]
    unleased: int = 0

    @property
    def notes(self) -> list[str]:
        """A line for each of them that says something."""
        forecasts = [str(self.forecasts)] if self.forecasts.judged else []
        unleased = [f"messages without a lease, kept: {self.unleased}"] if self.unleased else []
        return [*forecasts, *(f"service:{service}: {each}" for service, each in self.relieved.items()), *unleased]


def relieved(client: Client, keys: Keys) -> dict[str, Relieved]:
    """What is counted of each service that was ever relieved."""
    counts = cast("dict[bytes, bytes]", client.hgetall(keys(RELIEVED)))
    found: dict[str, dict[str, int]] = {}
    for field, count in counts.items():
        service, _, what = field.decode().rpartition(" ")
        found.setdefault(service, {})[what] = int(count)
    return {service: Relieved(**each) for service, each in sorted(found.items())}
