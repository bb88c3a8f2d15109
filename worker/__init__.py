"""Where it runs: the Celery side of Turgor."""

from ..scheduler.explanation import Explanation, TaskState
from ..scheduler.lane import Priority
from ..scheduler.scheduler import Cancelled
from .errors import BatchRefused, NoRunningTask, UnroutableTask, UnsupportedBroker, WaitTimeout
from .loop import Loop, LoopCall, LoopStatus, Waited
from .running_task import current
from .throttled import Throttled
from .turgor import Turgor

__all__ = [
    "BatchRefused",
    "Cancelled",
    "Explanation",
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
    "WaitTimeout",
    "Waited",
    "current",
]
