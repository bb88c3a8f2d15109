"""`turgor cancel`: take a waiting task out."""

from __future__ import annotations

from typing import Any

import click

from ...scheduler.scheduler import Cancelled
from .group import turgor_of

_SAYS = {
    Cancelled.CANCELLED: "cancelled",
    Cancelled.RELEASED: "too late: a worker has it. Use celery control revoke.",
    Cancelled.UNKNOWN: "no such task waits here",
}


@click.command()
@click.argument("task_id")
@click.pass_context
def cancel(ctx: click.Context, task_id: str, **_: Any) -> None:
    """Take the task TASK_ID out if it still waits. The exit status is 1 if it does not."""
    cancelled = turgor_of(ctx).cancel(task_id)
    click.echo(f"{task_id}: {_SAYS[cancelled]}")
    if cancelled is not Cancelled.CANCELLED:
        ctx.exit(1)
