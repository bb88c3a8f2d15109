"""`turgor pause` and `turgor resume`: hold back all work of a scope, and let it go again."""

from __future__ import annotations

import getpass
from typing import Any

import click

from .group import turgor_of


def _user() -> str:
    """Who types the command; `""` in a container whose user has no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


@click.command()
@click.argument("scope")
@click.option("--by", help="Who pauses it.  [default: your user name]")
@click.pass_context
def pause(ctx: click.Context, scope: str, by: str | None, **_: Any) -> None:
    """Hold back all work of SCOPE until it is resumed. What is released already runs.

    SCOPE is global, service:NAME, endpoint:SERVICE/NAME, loop_type:NAME or loop:NAME.
    """
    click.echo(str(turgor_of(ctx).pause(scope, by=_user() if by is None else by)))


@click.command()
@click.argument("scope")
@click.pass_context
def resume(ctx: click.Context, scope: str, **_: Any) -> None:
    """Lift the pause of SCOPE; where there is none, open what its service closed."""
    click.echo(str(turgor_of(ctx).resume(scope)))
