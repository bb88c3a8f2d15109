"""`turgor limits check|diff|apply|set`: change limits, and see what that would do."""

from __future__ import annotations

import tomllib
from typing import Any

import click

from ...limits.advice import advice
from ...limits.amendment import amended
from ...limits.change import Change, changes
from ...limits.config import LimitsConfig
from ...limits.errors import TurgorError, UnknownService, VersionConflict
from ...limits.registry import ATTEMPTS, LimitsRegistry
from ...limits.scope_word import scope_of
from ...limits.server import UNREACHABLE
from ..declared import tasks_that_never_run
from .group import turgor_of

_NONE = "none"
_FILE = click.argument("file", type=click.Path(dir_okay=False), required=False)
_VERSION = click.option("--version", "version", type=click.IntRange(1), help="An earlier version, instead of a file.")
_BY = click.option("--by", default="", help="Who does it.  [default: user@host]")
_NOTE = click.option("--note", default="", help="Why.")
_EXPECT = click.option(
    "--expect", type=click.IntRange(0), metavar="VERSION", help="Only if this version is in force; 0 for none."
)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--strict", is_flag=True, help="Advice counts as a mistake.")
@click.pass_context
def check(ctx: click.Context, *, file: str, strict: bool) -> None:
    """Validate FILE, and touch nothing.

    Says all mistakes at once, and which limits can never bind; where an app is named, also which of its tasks
    could never run. The exit status is 1 if there is a mistake.
    """
    config = LimitsConfig.load(file)
    warnings = advice(config)
    if getattr(ctx.obj, "turgor", None) is not None:
        warnings += tasks_that_never_run(turgor_of(ctx).app, config)
    for line in warnings:
        click.echo(f"{file}: {line}", err=True)
    if warnings and strict:
        raise click.ClickException(f"{file}: {_counted(len(warnings), 'warning')}, and --strict")
    count = sum(map(len, config.definitions().values()))
    click.echo(f"{file}: {_counted(count, 'limit')} on {_counted(len(config.definitions()), 'scope')}, no mistakes")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@click.command()
@_FILE
@_VERSION
@click.pass_context
def diff(ctx: click.Context, file: str | None, version: int | None) -> None:
    """What FILE would change, against what is in force.

    As diff(1): the exit status is 0 if nothing, 1 if something, 2 in trouble.
    """
    try:
        registry = turgor_of(ctx).registry
        found = changes(_in_force(registry)[1], _stated(registry, file, version))
    except (TurgorError, *UNREACHABLE) as error:
        trouble = click.ClickException(str(error))
        trouble.exit_code = 2
        raise trouble from error
    _show(found)
    ctx.exit(1 if found else 0)


@click.command()
@_FILE
@_VERSION
@_EXPECT
@_BY
@_NOTE
@click.pass_context
def apply(ctx: click.Context, *, file: str | None, version: int | None, expect: int | None, by: str, note: str) -> None:
    """Put FILE in force, for waiting work too.

    It replaces the version that the shown changes were made against. If another one is in force by then, nothing
    is applied.
    """
    turgor = turgor_of(ctx)
    turgor.bring_first()
    config = _stated(turgor.registry, file, version)
    seen, before = _in_force(turgor.registry)
    found = changes(before, config)
    _show(found)
    applied = turgor.registry.apply(config, expected_version=seen if expect is None else expect, by=by, note=note)
    click.echo(f"In force: {applied}" if found else f"Nothing to change. In force: {applied}")


@click.command(name="set")
@click.argument("scope")
@click.argument("settings", nargs=-1, metavar="KEY=VALUE...")
@click.option("--remove", is_flag=True, help="Name the scope no more, instead.")
@click.option("--new", is_flag=True, help="The service is new.")
@_EXPECT
@_BY
@_NOTE
@click.pass_context
def set_(
    ctx: click.Context, *, scope: str, settings: tuple[str, ...], remove: bool, new: bool, expect: int | None, by: str, note: str
) -> None:
    r"""Change some limits of SCOPE, and leave the others as they are.

    \b
    turgor -A proj limits set service:llm_api requests_per_minute=30 token_limits.per_minute=50_000
    turgor -A proj limits set loop:planner-7 requests_per_minute=none

    Values are those of limits.toml; none takes a limit away. The kind of SCOPE may be left out where only one scope
    of the limits has the name.
    """
    if bool(settings) == remove:
        raise click.UsageError("give settings as KEY=VALUE, or --remove")
    wanted = None if remove else dict(_setting(each) for each in settings)
    turgor = turgor_of(ctx)
    turgor.bring_first()
    registry = turgor.registry
    for attempt in range(1, ATTEMPTS + 1):
        seen, before = _in_force(registry)
        full_name = scope_of(scope, before)
        _check_known(before, full_name, new=new)
        after = amended(before, full_name, wanted)
        try:
            applied = registry.apply(after, expected_version=seen if expect is None else expect, by=by, note=note)
        except VersionConflict:
            if expect is not None or attempt == ATTEMPTS:
                raise
        else:
            _show(changes(before, after))
            click.echo(f"In force: {applied}")
            return


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise click.UsageError(f"{text!r} is no setting: use KEY=VALUE, such as requests_per_minute=30")
    return key.strip(), None if value.strip() == _NONE else _value(value.strip())


def _value(text: str) -> Any:
    """A value as `limits.toml` has it; what is none stays text, and the validation says what is wrong with it."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except ValueError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _check_known(config: LimitsConfig, scope: str, *, new: bool) -> None:
    kind, _, name = scope.partition(":")
    if kind == "service" and name and name not in config.services and not new:
        raise click.ClickException(f"{UnknownService(name, config.services)}. Add --new if it is a new one.")


def _stated(registry: LimitsRegistry, file: str | None, version: int | None) -> LimitsConfig:
    if (file is None) == (version is None):
        raise click.UsageError("give either FILE or --version")
    return LimitsConfig.load(file) if file is not None else registry.at(version or 0)


def _in_force(registry: LimitsRegistry) -> tuple[int, LimitsConfig]:
    """The version in force and its limits; 0 and none before the first."""
    version = registry.version()
    return version, registry.at(version) if version else LimitsConfig()


def _show(found: tuple[Change, ...]) -> None:
    for change in found:
        click.echo(str(change))
