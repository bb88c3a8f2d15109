"""Where it runs: the Celery side of Turgor."""

from ..scheduler.desired_workers import DesiredWorkers
from ..scheduler.errors import QueueFull
from ..scheduler.explanation import Explanation, Held, TaskState
from ..scheduler.lane import Priority
from ..scheduler.scheduler import Cancelled
from .asynchronous_loop import AsyncLoop
from .autoscaler import Autoscaler
from .errors import (
    AlreadyInstalled,
    BatchRefused,
    Coalesced,
    InvalidBrokerUrl,
    InvalidRedisUrl,
    InvalidRetry,
    LeasesNeedTheBroker,
    NoRunningTask,
    ServiceUnderPressure,
    TaskShed,
    UnroutableTask,
    UnsupportedBroker,
    UnsupportedProtocol,
    WaitTimeout,
)
from .loop import Loop, LoopCall, LoopStatus, Waited
from .loop_result import LoopResult
from .running_task import current
from .statistics import TurgorStatistics
from .throttled import Throttled
from .turgor import Turgor

__all__ = [
    "AlreadyInstalled",
    "AsyncLoop",
    "Autoscaler",
    "BatchRefused",
    "Cancelled",
    "Coalesced",
    "DesiredWorkers",
    "Explanation",
    "Held",
    "InvalidBrokerUrl",
    "InvalidRedisUrl",
    "InvalidRetry",
    "LeasesNeedTheBroker",
    "Loop",
    "LoopCall",
    "LoopResult",
    "LoopStatus",
    "NoRunningTask",
    "Priority",
    "QueueFull",
    "ServiceUnderPressure",
    "TaskShed",
    "TaskState",
    "Throttled",
    "Turgor",
    "TurgorStatistics",
    "UnroutableTask",
    "UnsupportedBroker",
    "UnsupportedProtocol",
    "WaitTimeout",
    "Waited",
    "current",
]
