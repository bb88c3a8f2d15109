"""What the tasks of an app declare, held against limits that are to be applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..limits.account_book import AccountBook
from ..limits.errors import CostTooLarge, UnknownService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from ..limits.config import LimitsConfig

_NAMES = ("service", "endpoint", "loop_type", "loop")


def tasks_that_never_run(app: Celery, config: LimitsConfig) -> Iterator[str]:
    """One line for each task of the app that every submit would refuse, by what the task declares of itself."""
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
