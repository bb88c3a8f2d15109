"""Who asks for a task and what it costs: the options that Turgor adds to `apply_async` and to `@app.task`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from celery._state import get_current_worker_task

from ..limits.priority import check_priority
from ..limits.scope import TaskScopes
from ..scheduler.lane import Lane, Priority

if TYPE_CHECKING:
    from celery import Celery

    from ..limits.token_budget import TokenBudget

_INHERITED = ("loop", "loop_type")
_KEPT_BY_RETRIES = ("service", "endpoint", "weight", "tokens", "max_wait", "deadline")
OPTIONS = (*_INHERITED, "priority", "coalesce", *_KEPT_BY_RETRIES)
ORIGIN_HEADER = "tokens_are"
HEADERS = (*OPTIONS, ORIGIN_HEADER)


class TokensAre(StrEnum):
    """Where the tokens that a call reserves come from, if nobody gave them.

    LEARNED from what tasks of its name have settled, or a DEFAULT, because none has.
    """

    LEARNED = "learned"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Call:
    """What one publish says about its task, after defaults and inheritance.

    `priority` is None where neither the caller, the task nor a parent gave one. `tokens` is None where nobody gave
    them and no token limit concerns the call; where `tokens_are` is not None, they are an estimate. `coalesce` is a key, True for the arguments,
    False for not at all, and None where nobody gave any; it does not travel with the message.
    """

    service: str
    endpoint: str
    loop: str
    loop_type: str
    weight: int
    tokens: int | None
    priority: int | None
    max_wait: float | None = None
    deadline: float | None = None
    tokens_are: TokensAre | None = None
    coalesce: str | bool | None = None

    @property
    def scopes(self) -> TaskScopes:
        return TaskScopes(self.service, self.endpoint, self.loop_type, self.loop)

    @property
    def priority_or_normal(self) -> int:
        """The priority that it waits with."""
        return Priority.NORMAL if self.priority is None else self.priority

    def lane(self, queue: str, *, limited: bool) -> Lane:
        """The lane for the broker list `queue`; a call that no limit concerns waits for its time alone."""
        priority = self.priority_or_normal
        return Lane(queue, priority, self.scopes) if limited else Lane(queue, priority, unlimited=True)

    @classmethod
    def from_headers(cls, headers: dict[str, Any]) -> Call:
        """The call that a stored message came from."""
        return cls(
            service=headers.get("service", ""),
            endpoint=headers.get("endpoint", ""),
            loop=headers.get("loop", ""),
            loop_type=headers.get("loop_type", ""),
            weight=headers.get("weight", 1),
            tokens=headers.get("tokens"),
            priority=headers.get("priority"),
            max_wait=headers.get("max_wait"),
            deadline=headers.get("deadline"),
        )

    def reserving(self, budget: TokenBudget, learned: int | None) -> Call:
        """The call with an estimate, where nobody has given its tokens."""
        origin = TokensAre.DEFAULT if learned is None else TokensAre.LEARNED
        return replace(self, tokens=budget.reserve(learned), tokens_are=origin)

    @property
    def headers(self) -> dict[str, Any]:
        """What travels with the message, so that retries and children can inherit it."""
        values: dict[str, Any] = {
            "loop": self.loop or None,
            "loop_type": self.loop_type or None,
            "priority": self.priority,
            "service": self.service or None,
            "endpoint": self.endpoint or None,
            "weight": self.weight if self.weight > 1 else None,
            "tokens": self.tokens,
            ORIGIN_HEADER: self.tokens_are,
            "max_wait": self.max_wait,
            "deadline": self.deadline,
        }
        return {name: value for name, value in values.items() if value is not None}


def take_call(app: Celery, name: str, headers: dict[str, Any], options: dict[str, Any]) -> Call:
    """Take Turgor's options out of `options` and complete them.

    In this order: what the caller gave; for a retry, what the message before it carried; what the task
    declares; for `loop`, `loop_type` and `priority`, what the task that is running now has.
    """
    parent = get_current_worker_task()
    carried: dict[str, Any] = vars(parent.request) if parent is not None else {}
    same_task = carried.get("id") == headers.get("id") and carried.get("task") == name
    again = dict(carried) if same_task else {}
    if again.get(ORIGIN_HEADER):
        # An estimate is made anew: more is known by now.
        again["tokens"] = None
    declared = app.tasks.get(name)

    def find(option: str, default: Any) -> Any:
        value = options.pop(option, None)
        if value is None and option in _KEPT_BY_RETRIES:
            value = again.get(option)
        if value is None and option in _INHERITED:
            value = carried.get(option)
        if value is None and declared is not None:
            value = getattr(declared, option, None)
        return default if value is None else value

    priority = options.get("priority")
    if priority is None or (same_task and priority == _broker_priority(carried)):
        priority = carried.get("priority")
    return Call(
        service=_name("service", find("service", "")),
        endpoint=_name("endpoint", find("endpoint", "")),
        loop=_name("loop", find("loop", "")),
        loop_type=_name("loop_type", find("loop_type", "")),
        weight=_whole("weight", find("weight", 1), at_least=1),
        tokens=None if (tokens := find("tokens", None)) is None else _whole("tokens", tokens, at_least=0),
        priority=None if priority is None else check_priority(priority),
        max_wait=None if (max_wait := find("max_wait", None)) is None else positive_seconds("max_wait", max_wait),
        deadline=_moment("deadline", find("deadline", None)),
        coalesce=_coalesce_key(find("coalesce", None)),
    )


def _broker_priority(carried: Mapping[str, Any]) -> int | None:
    """The priority that a retry repeats because its message came with it. Without one, kombu had written 0."""
    return (carried.get("delivery_info") or {}).get("priority")


def _name(option: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{option}={value!r}: give a name, as text")  # noqa: TRY004  as for every other bad value
    return value


def _coalesce_key(value: Any) -> str | bool | None:
    if value is None or isinstance(value, bool) or (isinstance(value, str) and value):
        return value
    raise ValueError(f"coalesce={value!r}: give a key, as text, or True for one task with the same arguments")


def _whole(option: str, value: Any, *, at_least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"{option}={value!r}: give a whole number of at least {at_least}")
    return value


def positive_seconds(option: str, value: Any) -> float:
    """The value in seconds. Raises `ValueError` naming the option unless it is a positive number or `timedelta`."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{option}={value!r}: give a positive number of seconds")
    return value


def _moment(option: str, value: Any) -> float | None:
    """Seconds since the epoch."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(
                f"{option}={value!r}: without a time zone it may be any time; give one, such as datetime.now(UTC) + timedelta(minutes=5)"
            )
        return value.timestamp()
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{option}={value!r}: give a datetime with its time zone, or seconds since the epoch")
    return value
