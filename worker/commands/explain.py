"""`turgor explain`: where a task is, and why."""

from __future__ import annotations

import json
from typing import Any

import click

from .group import turgor_of


@click.command()
@click.argument("task_id")
@click.option("--json", "as_json", is_flag=True, help="As JSON, durations in seconds.")
@click.pass_context
def explain(ctx: click.Context, task_id: str, as_json: bool, **_: Any) -> None:
    """Say where the task TASK_ID is, which limit holds it, and when it is expected to start."""
    found = turgor_of(ctx).explain(task_id)
    click.echo(json.dumps(found.to_dict()) if as_json else str(found))
