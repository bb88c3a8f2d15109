"""What the tasks of an app declare, held against limits that are to be applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..limits.account_book import AccountBook
from ..limits.errors import CostTooLarge, UnknownService
from ..limits.quotation import closest, quote, quote_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from ..limits.config import LimitsConfig

_NAMES = ("service", "endpoint", "loop_type", "loop")


def tasks_that_never_run(app: Celery, config: LimitsConfig) -> Iterator[str]:
    """One line for each task that could never run: every submit would refuse it, or it is a fallback that the app has not."""
    yield from unknown_fallbacks(app, config)
    book = AccountBook(config)
    for name, task in sorted(app.tasks.items()):
        if name.startswith("celery."):
            continue
        service, endpoint, loop_type, loop = (getattr(task, each, None) or "" for each in _NAMES)
        if not service:
            service, endpoint = config.scopes_of(name)
        try:
            if config.services:
                config.check_service(service, endpoint, task=name)
            elif service:
                service = endpoint = ""
            book.of_call((service, endpoint, loop_type, loop)).check_cost(
                getattr(task, "weight", None) or 1, getattr(task, "tokens", None) or 0
            )
        except UnknownService as error:
            yield str(error)
        except CostTooLarge as error:
            yield str(CostTooLarge(error.cost, error.capacity, error.binding, task=name))


def unknown_fallbacks(app: Celery, config: LimitsConfig) -> Iterator[str]:
    """One line for each task that a service degrades to and that the app does not have: a worker would discard it."""
    for service in config.services:
        for step in config.degradation_of(service):
            if step.degrade_to is not None and step.degrade_to not in app.tasks:
                meant = closest(step.degrade_to, app.tasks)
                hint = f"; did you mean {quote(meant)}?" if meant else "; declare it, or correct the name"
                place = quote_path(("services", service, "degradation"))
                yield f"{place}: the app has no task {quote(step.degrade_to)} to degrade to{hint}"
