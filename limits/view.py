"""What one process knows of the realm's limits: enough to tell limited work from unlimited."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from .config import LimitsConfig
from .fork_safe_lock import ForkSafeLock
from .publication import Answer, Published
from .registry import LimitsRegistry
from .scope import TaskScopes, template_of
from .server import UNREACHABLE

logger = logging.getLogger(__name__)

REFRESH_S = 1.0
PROGRAM = "limiter"


class LimitsView:
    """A copy of the limits in force, at most a second old.

    Parameters
    ----------
    registry:
        Where the limits are kept.
    given:
        The limits that the application brings, if any. They are put in force if they are new to the realm.
    program:
        The application's name: what it brings is compared with what it brought before.
    clock:
        Seconds, monotonic; says when the copy is too old.
    """

    def __init__(
        self,
        registry: LimitsRegistry,
        given: LimitsConfig | None = None,
        *,
        program: str = PROGRAM,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry, self._given, self._program, self._clock = registry, given, program, clock
        self._lock = ForkSafeLock()
        self._config = given or LimitsConfig()
        self._limited = _limited_scopes(self._config)
        self._version: int | None = None
        self._checked = float("-inf")

    def refresh(self) -> LimitsConfig:
        """Say what the application brings, and follow what is in force. A server that has lost it is told again."""
        with self._lock:
            version = self._version_in_force()
            if version != self._version:
                # A server that has lost its data has no limits. Calls go on under those that were last seen.
                self._config = self._registry.current() or self._config
                self._limited = _limited_scopes(self._config)
                self._version = version
            self._checked = self._clock()
        return self._config

    def _version_in_force(self) -> int:
        if self._given is None:
            return self._registry.version()
        answer = self._registry.bring(self._given, self._program)
        if self._version is None:
            tell_superseded(answer)
        return answer.version

    def ensure_published(self) -> None:
        """Make sure that the realm has had the limits that the application brings."""
        if self._version is None:
            self.refresh()

    def is_fresh(self) -> bool:
        """Whether `config` would answer without asking the server."""
        return self._clock() - self._checked < REFRESH_S

    def config(self) -> LimitsConfig:
        """The limits in force, or as they were last seen while the server is out of reach."""
        if not self.is_fresh():
            try:
                return self.refresh()
            except UNREACHABLE:
                if self._version is None and self._given is None:
                    raise
        return self._config

    @property
    def known(self) -> LimitsConfig | None:
        """The limits as they were last seen; None if they never were."""
        return self._config if self._version is not None or self._given is not None else None

    def is_limited(self, scopes: TaskScopes) -> bool:
        """Whether any limit applies to work of these scopes, or may apply: a known service can be paused or closed."""
        if scopes.service in self._config.services:
            return True
        return any(name in self._limited or template_of(name) in self._limited for name in scopes.names)


def tell_superseded(answer: Answer) -> None:
    """Log it once where the application's limits are not put in force, because others of its processes bring newer ones."""
    if answer.status is Published.SUPERSEDED:
        logger.warning(
            "The limits that this process brings are older than those of others that run; in force is %s",
            answer.record or f"version {answer.version}",
        )


def _limited_scopes(config: LimitsConfig) -> frozenset[str]:
    return frozenset((*(scope for scope, limits in config.definitions().items() if limits), *config.backlogs()))
