"""Every error that Turgor raises. Each says what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .decision import Decision
    from .limits_version import LimitsVersion


class TurgorError(Exception):
    """The root of all errors of Turgor."""


class ConfigError(TurgorError, ValueError):
    """The limits that were given are not valid. `problems` has one line per mistake; nothing was applied."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class VersionConflict(TurgorError):
    """Other limits are in force than those that were read, so nothing was applied. Read them again, and apply to those.

    `expected` is the version that was read; `found` is the one in force, None if nothing was ever applied.
    """

    def __init__(self, expected: int, found: LimitsVersion | None) -> None:
        self.expected, self.found = expected, found
        in_force = f"{found} is in force" if found else "no limits are in force"
        super().__init__(f"version {expected} of the limits was expected, and {in_force}: read them again, and apply to those")

    def __reduce__(self) -> tuple[type[VersionConflict], tuple[int, LimitsVersion | None]]:
        return type(self), (self.expected, self.found)


class UnknownVersion(TurgorError, LookupError):
    """There is no such version of the limits, or not any more. `history()` has those that can be read."""

    def __init__(self, version: int, latest: int) -> None:
        self.version, self.latest = version, latest
        known = f"the last one is {latest}, and 100 are kept" if latest else "no limits were ever applied"
        super().__init__(f"version {version} of the limits is not here: {known}")

    def __reduce__(self) -> tuple[type[UnknownVersion], tuple[int, int]]:
        return type(self), (self.version, self.latest)


class InvalidScope(TurgorError, ValueError):
    """A name that cannot name a scope. Change the name as the message says."""

    def __init__(self, kind: str, name: str, remedy: str) -> None:
        self.kind, self.name, self.remedy = kind, name, remedy
        shown = name if len(name) <= 60 else name[:57] + "..."
        super().__init__(f"{kind} {shown!r}: {remedy}")

    def __reduce__(self) -> tuple[type[InvalidScope], tuple[str, str, str]]:
        return type(self), (self.kind, self.name, self.remedy)


class UnknownService(TurgorError, LookupError):
    """A task names a service (or an endpoint) that has no limits. Correct the name, or add it to the limits."""

    def __init__(self, name: str, known: Iterable[str], *, task: str = "") -> None:
        self.name, self.known, self.task = name, tuple(sorted(known)), task
        close = get_close_matches(name, self.known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        origin = f"task {task!r}: " if task else ""
        listing = ", ".join(self.known) or "none"
        super().__init__(f"{origin}unknown service {name!r}.{hint} Known: {listing}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_unknown_service, (self.name, self.known, self.task)


def _rebuild_unknown_service(name: str, known: tuple[str, ...], task: str) -> UnknownService:
    return UnknownService(name, known, task=task)


class RateLimited(TurgorError):
    """A limiter refused. Wait `decision.retry_after` seconds, or ask for less."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        left = f"{decision.remaining} of {decision.capacity} left, " if decision.capacity else ""
        super().__init__(f"{decision.binding}: {left}retry after {decision.retry_after:.3f} s")

    def __reduce__(self) -> tuple[type[RateLimited], tuple[Decision]]:
        return type(self), (self.decision,)


class CostTooLarge(TurgorError, ValueError):
    """Work that costs more than a limit ever holds can never run. Split it, or raise the limit."""

    def __init__(self, cost: int, capacity: int, binding: str, *, task: str = "") -> None:
        self.cost, self.capacity, self.binding, self.task = cost, capacity, binding, task
        origin = f"task {task!r}: " if task else ""
        super().__init__(
            f"{origin}costs {cost}, but {binding} never holds more than {capacity}: split the work or raise the limit"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_cost_too_large, (self.cost, self.capacity, self.binding, self.task)


def _rebuild_cost_too_large(cost: int, capacity: int, binding: str, task: str) -> CostTooLarge:
    return CostTooLarge(cost, capacity, binding, task=task)


class UnsupportedServer(TurgorError):
    """The Redis server cannot carry Turgor: too old, read-only or without scripting. The message says which, and the remedy."""


class ServerUnreachable(TurgorError, ConnectionError):
    """No Redis server answers at the URL that the message names. Start it, or correct the URL."""
