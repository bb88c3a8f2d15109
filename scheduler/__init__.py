"""What runs next: waiting tasks, lanes, gates and the dispatcher. Knows Redis, and no Celery."""

from .backlog import Backlog, backlogs
from .demand import Demand, LaneDemand, LimitSupply, Presence
from .desired_workers import Binding, DesiredWorkers, desired_workers
from .dispatcher import Dispatcher
from .errors import QueueFull
from .expired_task import ExpiredTask
from .explanation import Explanation, Held, TaskState
from .lane import Lane, Priority
from .scheduler import Cancelled, Dispatched, Scheduler, Settled
from .survey import ClosedGate, Survey, WaitingLane, survey
from .waiting_task import Submitted, WaitingTask

__all__ = [
    "Backlog",
    "Binding",
    "Cancelled",
    "ClosedGate",
    "Demand",
    "DesiredWorkers",
    "Dispatched",
    "Dispatcher",
    "ExpiredTask",
    "Explanation",
    "Held",
    "Lane",
    "LaneDemand",
    "LimitSupply",
    "Presence",
    "Priority",
    "QueueFull",
    "Scheduler",
    "Settled",
    "Submitted",
    "Survey",
    "TaskState",
    "WaitingLane",
    "WaitingTask",
    "backlogs",
    "desired_workers",
    "survey",
]
