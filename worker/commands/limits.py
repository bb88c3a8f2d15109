"""`turgor limits …`: look at limits before and after they are in force."""

from __future__ import annotations

from typing import Any

import click

from ...limits.config import LimitsConfig
from .group import turgor_of


@click.group()
def limits(**_: Any) -> None:
    """Check and show limits."""


@limits.command()
@click.argument("file", type=click.Path(dir_okay=False))
def check(file: str) -> None:
    """Validate FILE. Nothing is applied; the exit status is 1 if it has a mistake."""
    config = LimitsConfig.load(file)
    count = sum(map(len, config.definitions().values()))
    click.echo(f"{file}: {count} limits on {len(config.definitions())} scopes, no mistakes")


@limits.command()
@click.pass_context
def show(ctx: click.Context) -> None:
    """The limits in force."""
    view = turgor_of(ctx).view
    for scope, rules in view.refresh().definitions().items():
        for limit in rules:
            click.echo(f"{scope:<32} {limit}")
        if not rules:
            click.echo(f"{scope:<32} no limits of its own")
