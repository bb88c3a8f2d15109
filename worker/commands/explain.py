"""`turgor explain`: where a task is, and why."""

from __future__ import annotations

from typing import Any

import click

from .group import turgor_of


@click.command()
@click.argument("task_id")
@click.pass_context
def explain(ctx: click.Context, task_id: str, **_: Any) -> None:
    """Say where the task TASK_ID is, and which limit holds it."""
    click.echo(str(turgor_of(ctx).explain(task_id)))
