"""What a realm knows of its own work."""

from __future__ import annotations

from dataclasses import dataclass

from ..scheduler.forecast_book import ForecastStatistics


@dataclass(frozen=True, slots=True)
class TurgorStatistics:
    """The answer of `Turgor.statistics`, for the whole cluster.

    Parameters
    ----------
    forecasts:
        How good the expected starts were that `Loop.submit` has given.
    unleased:
        Messages that an app with `lease_all` has refused and kept, because they had no lease.
    """

    forecasts: ForecastStatistics
    unleased: int = 0
