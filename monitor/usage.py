"""The usage of a realm: how full each of its limits is at one moment."""

from __future__ import annotations

from ..limits import HierarchicalLimiter, ServiceHealth, Usage
from ..limits.scope import TEMPLATE


def usage_of_all(limiter: HierarchicalLimiter) -> Usage:
    """Every limit in force, but for templates (`loop:*`), which have no state of their own. Charges nothing."""
    scopes = [scope for scope in limiter.refresh().definitions() if not scope.endswith(TEMPLATE)]
    return Usage(usage for scope in scopes for usage in limiter.usage(scope))


def ailing(limiter: HierarchicalLimiter) -> tuple[ServiceHealth, ...]:
    """The services of whose limits a breaker or an adaptive share holds something back, or whose retry budget is spent."""
    config = limiter.refresh()
    watched = [each for each in config.services if config.counts_outcomes(each) or config.has_retry_budget(each)]
    found = map(limiter.health, watched)
    return tuple(health for health in found if not health.is_whole)
