"""`turgor dispatch`: a dispatcher of its own, beside or instead of those inside the workers."""

from __future__ import annotations

import logging
import signal
from typing import Any

import click

from ...limits.server import without_password
from .group import turgor_of


@click.command()
@click.pass_context
def dispatch(ctx: click.Context, **_: Any) -> None:
    """Release waiting tasks until SIGTERM or Ctrl-C. Any number may run."""
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s: %(levelname)s/%(name)s] %(message)s")
    turgor = turgor_of(ctx)
    turgor.start()
    dispatcher, publisher = turgor.dispatcher(), turgor.publisher()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: dispatcher.stop())
    if publisher:
        publisher.start()
    click.echo(f"Dispatching realm {turgor.keys.realm!r} at {without_password(turgor.url)}. Ctrl-C ends it.")
    dispatcher.run()
    if publisher:
        publisher.stop()
