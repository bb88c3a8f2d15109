"""Errors of the Celery side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..limits.errors import CostTooLarge, TurgorError
from ..limits.priority import name_of
from ..scheduler.errors import QueueFull


class UnroutableTask(TurgorError, ValueError):
    """A limited task must go to exactly one queue. Give it a direct exchange, or take its limits away."""

    def __init__(self, exchange: str, routing_key: str, queues: Sequence[str]) -> None:
        found = ", ".join(queues) or "a fanout exchange's"
        super().__init__(
            f"exchange {exchange!r} with routing key {routing_key!r} leads to {found} queues, and a limited task "
            "is released to exactly one: use a queue of its own"
        )


class UnsupportedBroker(TurgorError, ValueError):
    """Work waits in Redis or Valkey, and the broker is neither. Say which to use: `Turgor(app, redis=…)`."""

    def __init__(self, scheme: str) -> None:
        super().__init__(
            f"broker {scheme}://: work waits in Redis or Valkey, and the broker is neither. Say where: "
            "Turgor(app, redis='redis://localhost:6379/0')"
        )


class LeasesNeedTheBroker(TurgorError, ValueError):
    """`lease_all` works where a release goes straight onto the broker's list. Leave it out for a broker elsewhere."""

    def __init__(self, broker: str) -> None:
        super().__init__(
            f"lease_all=True with the broker {broker}: leases replace acknowledgements only where work waits on the broker's own "
            "server and database, a Redis or Valkey. Leave lease_all out (limited tasks are leased all the same), or take that "
            "server as the broker"
        )


class InvalidRedisUrl(TurgorError, ValueError):
    """The URL where work is to wait cannot be used. Correct `Turgor(app, redis=…)`."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"redis={url!r}: {reason}. Give a URL such as redis://localhost:6379/0, rediss:// or unix://")


class InvalidBrokerUrl(TurgorError, ValueError):
    """The app's broker URL cannot be read. Correct `broker_url`."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"broker {url}: {reason}. Correct broker_url, such as redis://localhost:6379/0")


class AlreadyInstalled(TurgorError):
    """An app has one Turgor. Call `Turgor(app)` once, where the app is made."""

    def __init__(self, installed: str) -> None:
        super().__init__(f"the app has {installed} already: call Turgor(app) once, where the app is made")


class UnsupportedProtocol(TurgorError):
    """Limits travel in the headers, which Celery's message protocol 1 does not have. Set `task_protocol = 2`, the default."""

    def __init__(self) -> None:
        super().__init__("the app's task_protocol is 1: set it to 2, the default, because limits travel in a message's headers")


class InvalidRetry(TurgorError, ValueError):
    """A task declares its retries in a way that makes no sense. The message names the task, the option and the remedy."""

    def __init__(self, task: str, option: str, problem: str) -> None:
        super().__init__(f"{f'task {task!r}' if task else '@app.task'}: {option}: {problem}")


class ServiceUnderPressure(TurgorError):
    """New work of so low a priority is not accepted while its service is under pressure (`shed_below`).

    Submit it later, with a higher priority, or not at all.

    Attributes
    ----------
    task, service, priority:
        What was refused.
    pressure:
        What work meets at the service, in words.
    retry_after:
        Seconds after which it makes sense to try again.
    """

    def __init__(self, task: str, service: str, priority: int, pressure: str, retry_after: float) -> None:
        self.task, self.service, self.priority = task, service, priority
        self.pressure, self.retry_after = pressure, retry_after
        super().__init__(task, service, priority, pressure, retry_after)

    def __str__(self) -> str:
        return (
            f"{self.task}: service:{self.service} is under pressure and sheds work of priority {name_of(self.priority)}, because "
            f"{self.pressure}: try again in {self.retry_after:.1f} s, or with a higher priority"
        )


class NoRunningTask(TurgorError, RuntimeError):
    """`current` was asked where no task runs. Use it inside a task, in the thread or greenlet that runs it."""

    def __init__(self) -> None:
        super().__init__(
            "no task runs in this thread: use `current` inside a task; elsewhere, settle the token that a limiter gave"
        )


class BatchRefused(TurgorError):
    """Calls of a batch cost more than a limit ever holds, or found no room to wait. All others are submitted.

    Lower their cost or raise the limit; submit those that found no room later, or raise the backlog.

    Attributes
    ----------
    results:
        The results of all calls, in their order. Those of the refused calls never come.
    refused:
        Why, by the number of the call: `CostTooLarge`, `QueueFull` or `ServiceUnderPressure`.
    """

    def __init__(self, results: Sequence[Any], refused: Mapping[int, CostTooLarge | QueueFull | ServiceUnderPressure]) -> None:
        self.results, self.refused = list(results), dict(refused)
        first, why = next(iter(self.refused.items()))
        super().__init__(f"{len(refused)} of {len(results)} calls are refused; call {first}: {why}")


class TaskShed(TurgorError):
    """A waiting task was dropped for new work, because no more may wait. It never ran and spent nothing.

    Those that rank lowest go first, and of these those that have waited longest: give it a higher priority, or raise the
    `backlog` of the scope.

    Attributes
    ----------
    task:
        Its name.
    scope:
        Where there was no room, such as `service:llm_api`.
    """

    def __init__(self, task: str, scope: str = "") -> None:
        self.task, self.scope = task, scope
        super().__init__(task, scope)

    def __str__(self) -> str:
        return f"{self.task} was dropped for new work: the backlog of {self.scope} was full"


class Coalesced(TurgorError):
    """A call stored no task of its own, because one that waits already does what it asks for. Ask for the result of that one.

    Attributes
    ----------
    task:
        The name of the task that was called.
    into:
        The id of the task that stands for the call.
    """

    def __init__(self, task: str, into: str = "") -> None:
        self.task, self.into = task, into
        super().__init__(task, into)

    def __str__(self) -> str:
        return f"{self.task} was coalesced into task {self.into}, which waited already: ask for the result of that one"


class WaitTimeout(TurgorError):
    """A task waited longer than its `max_wait` allows, or until its `deadline`, so it never ran and spent nothing.

    Give it more time or a higher priority, or raise the limit that held it.

    Attributes
    ----------
    task:
        Its name.
    max_wait_s, deadline:
        The bounds that it had: seconds, and seconds since the epoch. None for none.
    held_by:
        The limit that held it then, such as `service:llm_api requests/1m`; `""` for none.
    """

    def __init__(self, task: str, max_wait_s: float | None = None, held_by: str = "", deadline: float | None = None) -> None:
        self.task, self.max_wait_s, self.held_by, self.deadline = task, max_wait_s, held_by, deadline
        super().__init__(task, max_wait_s, held_by, deadline)

    def __str__(self) -> str:
        bounds = [f"for more than {self.max_wait_s} s"] if self.max_wait_s is not None else []
        if self.deadline is not None:
            bounds.append(f"until its deadline, {datetime.fromtimestamp(self.deadline, UTC).isoformat(timespec='milliseconds')}")
        held = f", held by {self.held_by}" if self.held_by else ""
        return f"{self.task} waited {' or '.join(bounds) or 'too long'}{held}"
