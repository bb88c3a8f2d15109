"""`turgor explain`: where a task is, and why."""

from __future__ import annotations

from typing import Any

import click

from ...scheduler.explanation import TaskState
from .group import turgor_of


@click.command()
@click.argument("task_id")
@click.pass_context
def explain(ctx: click.Context, task_id: str, **_: Any) -> None:
    """Say where the task TASK_ID is, and which limit holds it."""
    found = turgor_of(ctx).explain(task_id)
    remark = ". It has ended, is not limited, or was never here" if found.state is TaskState.UNKNOWN else ""
    click.echo(f"{found}{remark}")
