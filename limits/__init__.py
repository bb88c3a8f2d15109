"""Limits that hold across every process that shares a Redis. No Celery in here: usable alone."""

from .asynchronous import AsyncHierarchicalLimiter, AsyncLimiter, AsyncRateToken
from .config import LimitsConfig
from .decision import Decision
from .errors import (
    ConfigError,
    CostTooLarge,
    InvalidScope,
    RateLimited,
    ServerUnreachable,
    TurgorError,
    UnknownService,
    UnsupportedServer,
)
from .hierarchical import HierarchicalLimiter
from .limit import Limit, LimitKind, Unit
from .limiter import Limiter
from .outcome import Outcome
from .rate_token import RateToken
from .scope import TaskScopes
from .tally import LimiterStatistics
from .usage import LimitUsage

__all__ = [
    "AsyncHierarchicalLimiter",
    "AsyncLimiter",
    "AsyncRateToken",
    "ConfigError",
    "CostTooLarge",
    "Decision",
    "HierarchicalLimiter",
    "InvalidScope",
    "Limit",
    "LimitKind",
    "LimitUsage",
    "Limiter",
    "LimiterStatistics",
    "LimitsConfig",
    "Outcome",
    "RateLimited",
    "RateToken",
    "ServerUnreachable",
    "TaskScopes",
    "TurgorError",
    "Unit",
    "UnknownService",
    "UnsupportedServer",
]
