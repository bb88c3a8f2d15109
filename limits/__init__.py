"""Limits that hold across every process that shares a Redis. No Celery in here: usable alone."""

from .asynchronous import AsyncHierarchicalLimiter, AsyncLimiter, AsyncRateToken
from .call import Call
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
from .estimate_book import Estimate
from .hierarchical import HierarchicalLimiter
from .limit import Limit, LimitKind, Unit
from .limiter import Limiter
from .observation import Observation, Quota
from .outcome import Outcome
from .rate_token import RateToken
from .regulator import Regulator, RegulatorState
from .response_cost import tokens_of
from .scope import TaskScopes
from .tally import LimiterStatistics
from .usage import LimitUsage, Usage

__all__ = [
    "AsyncHierarchicalLimiter",
    "AsyncLimiter",
    "AsyncRateToken",
    "Call",
    "ConfigError",
    "CostTooLarge",
    "Decision",
    "Estimate",
    "HierarchicalLimiter",
    "InvalidScope",
    "Limit",
    "LimitKind",
    "LimitUsage",
    "Limiter",
    "LimiterStatistics",
    "LimitsConfig",
    "Observation",
    "Outcome",
    "Quota",
    "RateLimited",
    "RateToken",
    "Regulator",
    "RegulatorState",
    "ServerUnreachable",
    "TaskScopes",
    "TurgorError",
    "Unit",
    "UnknownService",
    "UnsupportedServer",
    "Usage",
    "tokens_of",
]
