"""Where it runs: the Celery side of Turgor."""

from ..scheduler.explanation import Explanation, TaskState
from ..scheduler.lane import Priority
from ..scheduler.scheduler import Cancelled
from .errors import NoRunningTask, UnroutableTask, UnsupportedBroker, WaitTimeout
from .running_task import current
from .throttled import Throttled
from .turgor import Turgor

__all__ = [
    "Cancelled",
    "Explanation",
    "NoRunningTask",
    "Priority",
    "TaskState",
    "Throttled",
    "Turgor",
    "UnroutableTask",
    "UnsupportedBroker",
    "WaitTimeout",
    "current",
]
