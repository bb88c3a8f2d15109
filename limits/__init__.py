"""Limits that hold across every process that shares a Redis. No Celery in here: usable alone."""

from .asynchronous import AsyncHierarchicalLimiter, AsyncLimiter, AsyncRateToken
from .breaker import Circuit
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
from .hierarchical import HierarchicalLimiter
from .limit import Limit, LimitKind, Unit
from .limiter import Limiter
from .observation import Observation, Quota
from .outcome import Outcome
from .rate_token import RateToken
from .regulator import Regulator, RegulatorState
from .scope import TaskScopes
from .service_health import ServiceHealth
from .tally import LimiterStatistics
from .transition import Transition
from .usage import LimitUsage, Usage

__all__ = [
    "AsyncHierarchicalLimiter",
    "AsyncLimiter",
    "AsyncRateToken",
    "Call",
    "Circuit",
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
    "Observation",
    "Outcome",
    "Quota",
    "RateLimited",
    "RateToken",
    "Regulator",
    "RegulatorState",
    "ServerUnreachable",
    "ServiceHealth",
    "TaskScopes",
    "Transition",
    "TurgorError",
    "Unit",
    "UnknownService",
    "UnsupportedServer",
    "Usage",
]
