"""`turgor status`: what waits, where and for what."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ...limits.server import check_server
from ...scheduler.backlog import backlogs
from ...scheduler.survey import survey
from .group import turgor_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ...limits.regulator import RegulatorState
    from ...limits.service_health import ServiceHealth


MOST_BACKLOGS = 10


@click.command()
@click.option("--watch", is_flag=True, help="At a terminal: refresh every second until Ctrl-C.")
@click.pass_context
def status(ctx: click.Context, watch: bool, **_: Any) -> None:
    """Show what waits, where and for what."""
    from rich.console import Console
    from rich.live import Live

    from ...limits import HierarchicalLimiter
    from ...monitor.status import plain, render
    from ...monitor.usage import ailing, usage_of_all

    turgor = turgor_of(ctx)
    check_server(turgor.client, turgor.url)
    limiter = HierarchicalLimiter(turgor.client, realm=turgor.keys.realm)

    def held() -> list[RegulatorState | ServiceHealth]:
        return [*turgor.regulator.states(), *ailing(limiter)]

    def notes() -> list[str]:
        fullest = backlogs(turgor.client, turgor.keys, limiter.refresh())[:MOST_BACKLOGS]
        return [*turgor.statistics().notes, *(f"backlog of {each}" for each in fullest)]

    if not sys.stdout.isatty():
        click.echo(plain(survey(turgor.client, turgor.keys), usage_of_all(limiter), held(), notes()))
        return

    def view() -> RenderableType:
        return render(survey(turgor.client, turgor.keys), usage_of_all(limiter), held(), notes())

    if not watch:
        Console().print(view())
        return
    with Live(auto_refresh=False, screen=True) as live:
        try:
            while True:
                live.update(view(), refresh=True)
                time.sleep(1.0)
        except KeyboardInterrupt:
            return
