"""`LimitsView` for asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from .config import LimitsConfig
from .server import UNREACHABLE
from .view import PROGRAM, REFRESH_S, tell_superseded

if TYPE_CHECKING:
    from collections.abc import Callable

    from .asynchronous_registry import AsyncLimitsRegistry


class AsyncLimitsView:
    """A copy of the limits in force, at most a second old; see `LimitsView`."""

    def __init__(
        self,
        registry: AsyncLimitsRegistry,
        given: LimitsConfig | None = None,
        *,
        program: str = PROGRAM,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry, self._given, self._program, self._clock = registry, given, program, clock
        self._lock = asyncio.Lock()
        self._config = given or LimitsConfig()
        self._version: int | None = None
        self._checked = float("-inf")

    async def refresh(self) -> LimitsConfig:
        """Say what the application brings, and follow what is in force."""
        async with self._lock:
            return await self._follow()

    async def config(self) -> LimitsConfig:
        """The limits in force, or as they were last seen while the server is out of reach."""
        if self._is_old():
            try:
                async with self._lock:
                    # Whoever waited for the lock finds that another task has just looked.
                    return await self._follow() if self._is_old() else self._config
            except UNREACHABLE:
                if self._version is None and self._given is None:
                    raise
        return self._config

    @property
    def known(self) -> LimitsConfig | None:
        """`LimitsView.known`."""
        return self._config if self._version is not None or self._given is not None else None

    def _is_old(self) -> bool:
        return self._clock() - self._checked >= REFRESH_S

    async def _follow(self) -> LimitsConfig:
        version = await self._version_in_force()
        if version != self._version:
            self._config = await self._registry.current() or self._config
            self._version = version
        self._checked = self._clock()
        return self._config

    async def _version_in_force(self) -> int:
        if self._given is None:
            return await self._registry.version()
        answer = await self._registry.bring(self._given, self._program)
        if self._version is None:
            tell_superseded(answer)
        return answer.version
