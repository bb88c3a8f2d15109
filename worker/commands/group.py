"""The command group, and how a command finds its app."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import click

from ...limits.errors import TurgorError
from ...limits.server import UNREACHABLE

if TYPE_CHECKING:
    from ..turgor import Turgor


@contextlib.contextmanager
def _one_line_errors() -> Generator[None]:
    try:
        yield
    except TurgorError as error:
        raise click.ClickException(str(error)) from error
    except UNREACHABLE as error:
        raise click.ClickException(f"Redis is out of reach: {error}") from error


class TurgorGroup(click.Group):
    """A group whose errors are one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        with _one_line_errors():
            return super().invoke(ctx)


@click.group(cls=TurgorGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-A", "--app", "app_name", metavar="APP", help="The Celery app, such as proj or proj.celery:app.")
@click.version_option(importlib.metadata.version("turgor"), prog_name="turgor")
@click.pass_context
def turgor(ctx: click.Context, app_name: str | None, **_: Any) -> None:
    """Backpressure for Celery: limits that hold across all workers."""
    if app_name is not None:
        from celery.app.utils import find_app

        try:
            ctx.obj = find_app(app_name)
        except (ImportError, AttributeError) as error:
            raise click.UsageError(f"no app {app_name!r}: {error}") from error
    else:
        ctx.obj = getattr(ctx.obj, "app", None)


def turgor_of(ctx: click.Context) -> Turgor:
    """The Turgor of the app that the user named, with the app's tasks and configuration loaded.

    Raises
    ------
    click.UsageError
        No app was named, or it has no Turgor.
    """
    app = ctx.obj
    name = ctx.info_name
    if app is None or app.main == "default":
        raise click.UsageError(f"name the app: turgor -A proj {name}, or celery -A proj turgor {name}")
    app.loader.import_default_modules()
    found: Turgor | None = getattr(app, "turgor", None)
    if found is None:
        raise click.UsageError("the app has no Turgor: add Turgor(app) where it is made")
    return found


def main() -> None:
    """The console script `turgor`."""
    turgor(prog_name="turgor")
