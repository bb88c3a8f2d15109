"""`turgor usage`: how full the limits and the backlog of one scope are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ...limits.priority import name_of
from ...limits.scope_word import scope_of
from ...scheduler.backlog import backlogs
from .group import turgor_of

if TYPE_CHECKING:
    from ...limits.usage import LimitUsage


@click.command()
@click.argument("scope")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on one line.")
@click.pass_context
def usage(ctx: click.Context, scope: str, as_json: bool, **_: Any) -> None:
    """Say how full each limit of SCOPE is, and its backlog if that has a cap: global, service:NAME, endpoint:SERVICE/NAME, loop_type:NAME or loop:NAME.

    The kind may be left out where only one scope of the limits has the name.
    """
    turgor = turgor_of(ctx)
    config = turgor.view.refresh()
    full_name = scope_of(scope, config)
    found = turgor.usage(full_name)
    if as_json:
        click.echo(found.to_json())
        return
    for each in found:
        click.echo(_line(each))
    waiting = [each for each in backlogs(turgor.client, turgor.keys, config) if each.scope == full_name]
    for each in waiting:
        click.echo(f"backlog of {each}")
    if not found and not waiting:
        click.echo(f"{full_name}: no limits of its own")


def _line(usage: LimitUsage) -> str:
    waits = f", opens in {usage.retry_after:.1f} s" if usage.retry_after and usage.reset_after else ""
    unused = f", unused in {usage.reset_after:.1f} s" if usage.reset_after else ""
    limit = usage.limit
    reserve = (
        f" ({min(usage.remaining, limit.reserved)} of them for {name_of(limit.reserved_for)} and above)" if limit.reserved else ""
    )
    return (
        f"{usage.scope:<24} {limit.id:<14} {usage.used} of {limit.capacity} used, {usage.remaining} left{reserve}{waits}{unused}"
    )
