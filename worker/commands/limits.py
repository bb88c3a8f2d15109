"""`turgor limits …`: look at limits before and after they are in force, and change them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .group import turgor_of
from .limits_change import apply, check, diff, set_

if TYPE_CHECKING:
    from ...limits.limits_version import LimitsVersion


@click.group()
def limits(**_: Any) -> None:
    """Check, show and change limits."""


for _command in (apply, check, diff, set_):
    limits.add_command(_command)


@limits.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def show(ctx: click.Context, as_json: bool) -> None:
    """The limits in force, since when and by whom. Changes nothing."""
    from ...limits.change import settings_of
    from ...limits.config import LimitsConfig

    turgor = turgor_of(ctx)
    version, registry = turgor.registry.version(), turgor.registry
    config = registry.at(version) if version else LimitsConfig()
    (record,) = registry.history(1) or (None,)
    if as_json:
        click.echo(json.dumps({"in_force": record and _as_json(record), "limits": config.to_dict()}, indent=2))
        return
    if record is None:
        brings = " The app brings limits, and a worker or a submit puts them in force." if turgor.limits else ""
        click.echo(f"No limits are in force.{brings}")
        return
    click.echo(str(record))
    settings = settings_of(config)
    definitions = config.definitions()
    for scope in dict.fromkeys((*definitions, *settings)):
        rules, stated = definitions.get(scope, ()), settings.get(scope, {})
        lines = [*map(str, rules), *(f"{key} = {json.dumps(value)}" for key, value in stated.items())]
        for line in lines or ["no limits of its own"]:
            click.echo(f"{scope:<32} {line}")


@limits.command()
@click.option("-n", "most", type=click.IntRange(1), default=10, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def history(ctx: click.Context, most: int, as_json: bool) -> None:
    """The last versions of the limits, the one in force first. 100 are kept."""
    versions = turgor_of(ctx).limits_history(most)
    if as_json:
        click.echo(json.dumps([_as_json(each) for each in versions], indent=2))
        return
    for each in versions:
        click.echo(str(each))
    if not versions:
        click.echo("No limits were ever in force.")


def _as_json(version: LimitsVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "digest": version.digest,
        "by": version.by,
        "at": version.at.isoformat(),
        "note": version.note,
    }
