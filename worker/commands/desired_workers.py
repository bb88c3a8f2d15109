"""`turgor desired-workers` and `turgor metrics`: how many workers the work has use for, for people and for autoscalers."""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

import click

from ...limits.server import check_server
from ...scheduler.demand import HORIZON_S
from .group import turgor_of

_queues = click.option("--queue", "-Q", "queues", multiple=True, help="Only the work of this queue; may be repeated.")
_horizon = click.option(
    "--horizon",
    default=HORIZON_S,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="Seconds to look ahead: as long as a worker takes to start.",
)
_per_worker = click.option(
    "--per-worker",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Count in workers that run so many tasks at a time.",
)


@click.command("desired-workers")
@_queues
@_horizon
@_per_worker
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def desired_workers(
    ctx: click.Context, queues: tuple[str, ...], horizon: float, per_worker: int, as_json: bool, **_: Any
) -> None:
    """Say how many workers the work has use for, and what binds."""
    turgor = turgor_of(ctx)
    check_server(turgor.client, turgor.url)
    answer = turgor.desired_workers(queues, horizon_s=horizon)
    told = answer.to_dict(per_worker)
    click.echo(json.dumps(told) if as_json else f"{told['desired_workers']} desired, {told['workers']} there ({answer.reason})")


@click.command()
@_queues
@_horizon
@_per_worker
@click.option("--host", default="", help="Where to listen; everywhere if not given.")
@click.option("--port", default=9808, show_default=True, type=click.IntRange(0, 65535))
@click.pass_context
def metrics(
    ctx: click.Context, *, queues: tuple[str, ...], horizon: float, per_worker: int, host: str, port: int, **_: Any
) -> None:
    """Serve /metrics for Prometheus and /desired-workers for KEDA until SIGTERM or Ctrl-C."""
    turgor = turgor_of(ctx)
    check_server(turgor.client, turgor.url)
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s: %(levelname)s/%(name)s] %(message)s")
    try:
        from ...monitor.exporter import Exporter
    except ImportError as error:
        raise click.ClickException(f"{error.name} is not installed: pip install 'turgor[metrics]'") from error
    try:
        exporter = Exporter(
            lambda: turgor.desired_workers(queues, horizon_s=horizon), host=host, port=port, per_worker=per_worker
        )
    except OSError as error:
        raise click.ClickException(f"cannot listen on port {port}: {error.strerror}. Choose another --port.") from error
    _stop_on_signals(exporter.shutdown)
    click.echo(f"Serving /metrics and /desired-workers on port {exporter.server_port}. Ctrl-C ends it.")
    with exporter:
        exporter.serve_forever()


def _stop_on_signals(stop: Callable[[], None]) -> None:
    """`shutdown` waits for the loop that the signal has interrupted, so it is called by another thread."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: threading.Thread(target=stop).start())
