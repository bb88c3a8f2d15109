"""The command group, and how a command finds its app."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast

import click
from redis.exceptions import ResponseError

from ...limits.errors import TurgorError
from ...limits.server import UNREACHABLE, remedy_of, unreachable, unsupported

if TYPE_CHECKING:
    from celery import Celery

    from ..turgor import Turgor

_NAMES_OF_APPS = "Name a module that has one, or the app in it, such as proj or proj.celery:app"


@contextlib.contextmanager
def _one_line_errors(ctx: click.Context) -> Generator[None]:
    try:
        yield
    except TurgorError as error:
        raise click.ClickException(str(error)) from error
    except (*UNREACHABLE, ResponseError) as error:
        refusal = refusal_of_server(error, getattr(ctx.obj, "turgor", None))
        if refusal is None:
            raise
        raise click.ClickException(str(refusal)) from error


def refusal_of_server(error: Exception, turgor: Turgor | None) -> TurgorError | None:
    """What an error says of the server of the app; None if it is about something else."""
    if isinstance(error, ResponseError):
        return unsupported(turgor.url, error) if turgor is not None and remedy_of(error) else None
    return unreachable(turgor.url if turgor is not None else "an unknown address", error)


class TurgorGroup(click.Group):
    """A group whose errors are one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        with _one_line_errors(ctx):
            return super().invoke(ctx)


@click.group(cls=TurgorGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-A", "--app", "app_name", metavar="APP", help="The Celery app, such as proj or proj.celery:app.")
@click.version_option(importlib.metadata.version("turgor"), prog_name="turgor")
@click.pass_context
def turgor(ctx: click.Context, app_name: str | None, **_: Any) -> None:
    """Backpressure for Celery: limits that hold across all workers."""
    if app_name is not None:
        ctx.obj = _app_named(app_name)
    else:
        ctx.obj = getattr(ctx.obj, "app", None)


def _app_named(name: str) -> Celery[Any]:
    from celery import Celery
    from celery.app.utils import find_app

    try:
        found = cast("object", find_app(name))  # celery-types takes every module for an app
    except (ImportError, AttributeError) as error:
        # Celery takes an attribute that is missing for a module; the first error names what is missing.
        first = error.__context__ if isinstance(error.__context__, AttributeError) else error
        raise click.UsageError(f"no app {name!r}: {first}. {_NAMES_OF_APPS}") from error
    except ValueError as error:
        # So Celery passes on a ValueError of the module that makes the app.
        if isinstance(error.__context__, TurgorError):
            raise error.__context__ from None
        raise
    if not isinstance(found, Celery):
        raise click.UsageError(f"no app {name!r}: it is of type {type(found).__name__}. {_NAMES_OF_APPS}")
    return found


def turgor_of(ctx: click.Context) -> Turgor:
    """The Turgor of the app that the user named, with the app's tasks and configuration loaded.

    Raises
    ------
    click.UsageError
        No app was named, or it has no Turgor.
    """
    app = ctx.obj
    if app is None or app.main == "default":
        command = ctx.command_path.rpartition("turgor ")[2]
        raise click.UsageError(f"name the app: turgor -A proj {command}, or celery -A proj turgor {command}")
    app.loader.import_default_modules()
    found: Turgor | None = getattr(app, "turgor", None)
    if found is None:
        raise click.UsageError("the app has no Turgor: add Turgor(app) where it is made")
    return found


def main() -> None:
    """The console script `turgor`."""
    turgor(prog_name="turgor")
