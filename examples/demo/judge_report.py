"""A judge's report is what it saw, frozen, and ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One refused call, under the window that it would have had to wait for longest.

    Parameters
    ----------
    at_s:
        When it arrived, in seconds after the first call that the judge heard.
    limit, seconds, unit:
        The window that refused.
    in_window, units, excess:
        Units already accepted in the window, units that the call asked for, and by how many the two exceed the limit.
    early_by_s:
        How much later the call should have come; None when it can never pass, because it costs more than the limit.
    """

    at_s: float
    service: str
    endpoint: str
    loop: str
    loop_type: str
    priority: int | None
    limit: int
    seconds: float
    unit: str
    in_window: int
    units: int
    excess: int
    early_by_s: float | None

    @property
    def excess_ratio(self) -> float:
        return self.excess / self.limit


@dataclass(frozen=True, slots=True)
class WindowReport:
    """How one window was kept.

    Parameters
    ----------
    arrivals, accepted, refused:
        Calls. `refused` are those that this window refused; a call may be refused by another window alone.
    units_arrived, units_accepted:
        The same in the window's unit.
    peak, peak_ratio:
        The most units that arrived in any stretch of the window's length, refused calls included; and that divided by
        the limit. Above 1 the caller broke the limit.
    utilisation, utilisation_whole:
        See `judged_window`; None while there is nothing to measure.
    """

    limit: int
    seconds: float
    unit: str
    arrivals: int
    accepted: int
    refused: int
    units_arrived: int
    units_accepted: int
    peak: int
    peak_ratio: float
    utilisation: float | None
    utilisation_whole: float | None


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """How one service was called.

    The `by_…` tables count calls, refused ones included; `""` stands for a call that gave no such name.
    """

    calls: int
    accepted: int
    violations: int
    windows: tuple[WindowReport, ...]
    by_endpoint: Mapping[str, int]
    by_loop: Mapping[str, int]
    by_loop_type: Mapping[str, int]
    by_priority: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """Everything the judge saw.

    Parameters
    ----------
    calls, violations:
        Over all services. A violation is one refused call, however many windows refused it.
    worst:
        The violation with the largest excess in proportion to its limit.
    last_violations:
        The newest ones, oldest first.
    """

    calls: int
    violations: int
    services: Mapping[str, ServiceReport]
    worst: Violation | None
    last_violations: tuple[Violation, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain dicts, lists and numbers, as `GET /report` gives them."""
        return asdict(self)
