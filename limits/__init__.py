"""Limits that hold across every process that shares a Redis. No Celery in here: usable alone."""

from .asynchronous import AsyncHierarchicalLimiter, AsyncLimiter
from .asynchronous_registry import AsyncLimitsRegistry
from .asynchronous_token import AsyncRateToken
from .breaker import Circuit
from .call import Call
from .config import LimitsConfig
from .decision import Decision, Source
from .errors import (
    ConfigError,
    CostTooLarge,
    InvalidScope,
    RateLimited,
    ServerUnreachable,
    TurgorError,
    UnknownService,
    UnknownVersion,
    UnsupportedServer,
    VersionConflict,
)
from .estimate_book import Estimate
from .hierarchical import HierarchicalLimiter
from .limit import Limit, LimitKind, Unit
from .limiter import Limiter
from .limits_version import LimitsVersion
from .observation import Observation, Quota
from .outage import OnUnreachable
from .outcome import Outcome
from .rate_token import RateToken
from .registry import LimitsRegistry
from .regulator import Regulator, RegulatorState
from .response_cost import tokens_of
from .scope import TaskScopes
from .service_health import ServiceHealth
from .tally import LimiterStatistics
from .transition import Transition
from .usage import LimitUsage, Usage

__all__ = [
    "AsyncHierarchicalLimiter",
    "AsyncLimiter",
    "AsyncLimitsRegistry",
    "AsyncRateToken",
    "Call",
    "Circuit",
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
    "LimitsRegistry",
    "LimitsVersion",
    "Observation",
    "OnUnreachable",
    "Outcome",
    "Quota",
    "RateLimited",
    "RateToken",
    "Regulator",
    "RegulatorState",
    "ServerUnreachable",
    "ServiceHealth",
    "Source",
    "TaskScopes",
    "Transition",
    "TurgorError",
    "Unit",
    "UnknownService",
    "UnknownVersion",
    "UnsupportedServer",
    "Usage",
    "VersionConflict",
    "tokens_of",
]
