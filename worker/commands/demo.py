"""`turgor demo`: real workers, three kinds of loops, and a service that counts every call. Needs nothing installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...limits.duration import parse_duration
from ...limits.limit import SECOND_US

SHORTEST_S = 1.0


def _seconds(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    """A duration such as `20s` or `1m30s`, or a number of seconds."""
    if text is None:
        return None
    try:
        seconds = parse_duration(float(text) if _is_number(text) else text) / SECOND_US
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if seconds < SHORTEST_S:
        raise click.BadParameter(f"{text!r} is too short; use at least {SHORTEST_S:g}s")
    return seconds


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@click.command()
@click.option("--for", "seconds", callback=_seconds, metavar="20s", help="End by itself after this long. Else: at Ctrl-C.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Keep the server's data and all logs in this folder."
)
@click.option("--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="Worker nodes.")
@click.option("--processes", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes of each node.")
@click.option(
    "--dispatchers", type=click.IntRange(0, 16), default=0, show_default=True, help="Extra dispatchers; each node has its own."
)
@click.option("--kill-worker", is_flag=True, help="Kill a node in the middle (kill -9), and start it again.")
@click.option(
    "--latency-ms",
    type=click.FloatRange(0, 10_000),
    default=20.0,
    show_default=True,
    help="How long the service takes for a call.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The service's port.  [default: any free one]")
@click.pass_context
def demo(
    ctx: click.Context,
    *,
    seconds: float | None,
    data: Path | None,
    workers: int,
    processes: int,
    dispatchers: int,
    kill_worker: bool,
    latency_ms: float,
    port: int,
    **_: Any,
) -> None:
    """Watch Celery workers call a service up to its limits, and never once too often.

    Ends with a report. The exit status is 1 if the service counted a call too many or if a task failed.
    """
    from ...examples.demo.run import Play, run
    from ...examples.demo.stage import Cast

    cast = Cast(workers=workers, processes=processes, dispatchers=dispatchers, latency_ms=latency_ms, port=port, data=data)
    ctx.exit(run(Play(cast, seconds, kill_worker=kill_worker)))
