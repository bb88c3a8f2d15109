"""What runs next: waiting tasks, lanes, gates and the dispatcher. Knows Redis, and no Celery."""

from .dispatcher import Dispatcher
from .errors import QueueFull
from .explanation import Explanation, Held, TaskState
from .lane import Lane, Priority
from .scheduler import Cancelled, Dispatched, ExpiredTask, Scheduler, Settled, Submitted, WaitingTask
from .survey import ClosedGate, Survey, WaitingLane, survey

__all__ = [
    "Cancelled",
    "ClosedGate",
    "Dispatched",
    "Dispatcher",
    "ExpiredTask",
    "Explanation",
    "Held",
    "Lane",
    "Priority",
    "QueueFull",
    "Scheduler",
    "Settled",
    "Submitted",
    "Survey",
    "TaskState",
    "WaitingLane",
    "WaitingTask",
    "survey",
]
