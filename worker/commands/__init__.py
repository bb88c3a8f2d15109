"""The commands: `turgor …`, and the same group as `celery -A proj turgor …`."""

from .cancel import cancel
from .demo import demo
from .desired_workers import desired_workers, metrics
from .dispatch import dispatch
from .explain import explain
from .group import main, turgor
from .limits import limits
from .pause import pause, resume
from .status import status
from .usage import usage

for command in (cancel, demo, desired_workers, dispatch, explain, limits, metrics, pause, resume, status, usage):
    turgor.add_command(command)

__all__ = ["main", "turgor"]
