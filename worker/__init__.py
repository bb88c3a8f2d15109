"""Where it runs: the Celery side of Turgor."""

from ..scheduler.desired_workers import DesiredWorkers
from ..scheduler.explanation import Explanation, TaskState
from ..scheduler.lane import Priority
from ..scheduler.scheduler import Cancelled
from .autoscaler import Autoscaler
from .errors import (
    AlreadyInstalled,
    BatchRefused,
    InvalidBrokerUrl,
    NoRunningTask,
    UnroutableTask,
    UnsupportedBroker,
    UnsupportedProtocol,
    WaitTimeout,
)
from .loop import Loop, LoopCall, LoopStatus, Waited
from .running_task import current
from .throttled import Throttled
from .turgor import Turgor

__all__ = [
    "AlreadyInstalled",
    "Autoscaler",
    "BatchRefused",
    "Cancelled",
    "DesiredWorkers",
    "Explanation",
    "InvalidBrokerUrl",
    "Loop",
    "LoopCall",
    "LoopStatus",
    "NoRunningTask",
    "Priority",
    "TaskState",
    "Throttled",
    "Turgor",
    "UnroutableTask",
    "UnsupportedBroker",
    "UnsupportedProtocol",
    "WaitTimeout",
    "Waited",
    "current",
]
