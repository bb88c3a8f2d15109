"""`LimitsRegistry` and `LimitsView` for asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

from .config import LimitsConfig
from .registry import PUBLISH, publication
from .server import UNREACHABLE
from .view import REFRESH_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from .keys import Keys
    from .lua import AsyncClient


class AsyncLimitsRegistry:
    """Publishes and reads the definitions of one realm."""

    def __init__(self, client: AsyncClient, keys: Keys) -> None:
        self._client, self._keys = client, keys

    async def publish(self, config: LimitsConfig) -> int:
        """`LimitsRegistry.publish`."""
        return cast("int", await PUBLISH.run_async(self._client, *publication(config, self._keys)))

    async def version(self) -> int:
        """The version in force; 0 if nothing was ever published."""
        return int(await self._client.get(self._keys("version")) or 0)

    async def current(self) -> LimitsConfig | None:
        """The configuration in force, or None if nothing was ever published."""
        text = await cast("Any", self._client.hget(self._keys("config"), "json"))
        return LimitsConfig.from_json(text) if text else None


class AsyncLimitsView:
    """A copy of the limits in force, at most a second old; see `LimitsView`."""

    def __init__(
        self, registry: AsyncLimitsRegistry, given: LimitsConfig | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry, self._given, self._clock = registry, given, clock
        self._lock = asyncio.Lock()
        self._config = given or LimitsConfig()
        self._version: int | None = None
        self._checked = float("-inf")

    async def refresh(self) -> LimitsConfig:
        """Publish what the application brings, once; then follow what is in force."""
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

    def _is_old(self) -> bool:
        return self._clock() - self._checked >= REFRESH_S

    async def _follow(self) -> LimitsConfig:
        version = await self._registry.version()
        if self._given is not None and (self._version is None or not version):
            version = await self._registry.publish(self._given)
        if version != self._version:
            self._config = await self._registry.current() or self._config
            self._version = version
        self._checked = self._clock()
        return self._config
