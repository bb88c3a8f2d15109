"""Where it runs: the Celery side of Turgor."""

from ..scheduler.explanation import Explanation, TaskState
from ..scheduler.lane import Priority
from ..scheduler.scheduler import Cancelled
from .errors import UnroutableTask, UnsupportedBroker, WaitTimeout
from .throttled import Throttled
from .turgor import Turgor

__all__ = [
    "Cancelled",
    "Explanation",
    "Priority",
    "TaskState",
    "Throttled",
    "Turgor",
    "UnroutableTask",
    "UnsupportedBroker",
    "WaitTimeout",
]
