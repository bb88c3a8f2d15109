"""`turgor explain`: where a task is, and why."""

from __future__ import annotations

import json
from typing import Any

import click

from ...scheduler.explanation import TaskState
from .group import turgor_of


@click.command()
@click.argument("task_id")
@click.option("--json", "as_json", is_flag=True, help="As JSON, durations in seconds.")
@click.pass_context
def explain(ctx: click.Context, task_id: str, as_json: bool, **_: Any) -> None:
    """Say where the task TASK_ID is, which limit holds it, and when it is expected to start."""
    found = turgor_of(ctx).explain(task_id)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
        return
    remark = ". It has ended, is not limited, or was never here" if found.state is TaskState.UNKNOWN else ""
    click.echo(f"{found}{remark}")
    for held in found.history:
        if held.by.split()[0] != found.held_by.partition(" ")[0]:
            click.echo(f"  its lane was held by {held}")
