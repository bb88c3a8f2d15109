"""`LimitsRegistry` for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .amendment import amended
from .config import LimitsConfig
from .errors import UnknownVersion, VersionConflict
from .keys import Keys
from .limits_version import LimitsVersion
from .publication import BRING, KEPT_VERSIONS, PUBLISH, Answer, Published, application, delivery, question
from .registry import ATTEMPTS
from .server import answered_by, connect_async

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from .lua import AsyncClient, Script
    from .publication import Values


class AsyncLimitsRegistry:
    """`LimitsRegistry` for asyncio."""

    def __init__(self, client: AsyncClient | str, realm: Keys | str = "default") -> None:
        self._owned = isinstance(client, str)
        self._client = connect_async(client) if isinstance(client, str) else client
        self._keys = realm if isinstance(realm, Keys) else Keys(realm)

    def __repr__(self) -> str:
        return f"<AsyncLimitsRegistry {self._keys.realm}>"

    async def apply(
        self,
        config: str | PathLike[str] | Mapping[str, Any] | LimitsConfig,
        *,
        expected_version: int | None = None,
        by: str = "",
        note: str = "",
        now_us: int | None = None,
    ) -> LimitsVersion:
        """`LimitsRegistry.apply`."""
        values = application(LimitsConfig.load(config), expected_version, by, note, now_us)
        return (await self._run(PUBLISH, values)).applied(expected_version)

    async def amend(
        self,
        scope: str,
        settings: Mapping[str, Any] | None,
        *,
        expected_version: int | None = None,
        by: str = "",
        note: str = "",
        now_us: int | None = None,
    ) -> LimitsVersion:
        """`LimitsRegistry.amend`."""
        attempts = ATTEMPTS if expected_version is None else 1
        while True:
            attempts -= 1
            seen = await self.version() if expected_version is None else expected_version
            config = amended(await self.at(seen) if seen else LimitsConfig(), scope, settings)
            try:
                return await self.apply(config, expected_version=seen, by=by, note=note, now_us=now_us)
            except VersionConflict:
                if not attempts:
                    raise

    async def bring(self, config: LimitsConfig, program: str, *, now_us: int | None = None) -> Answer:
        """`LimitsRegistry.bring`."""
        answer = await self._run(BRING, question(config, program, now_us))
        if answer.status is Published.WANTED:
            answer = await self._run(BRING, delivery(config, program, now_us))
        return answer

    async def version(self) -> int:
        """`LimitsRegistry.version`."""
        with answered_by(self._client):
            return int(await self._client.get(self._keys("version")) or 0)

    async def current(self) -> LimitsConfig | None:
        """`LimitsRegistry.current`."""
        text = await self._text("config", "json")
        return LimitsConfig.from_json(text) if text else None

    async def history(self, most: int = KEPT_VERSIONS) -> tuple[LimitsVersion, ...]:
        """`LimitsRegistry.history`."""
        latest = await self.version()
        numbers = range(latest, max(0, latest - min(most, KEPT_VERSIONS)), -1)
        if not numbers:
            return ()
        with answered_by(self._client):
            records = await cast("Any", self._client.hmget(self._keys("history"), [str(each) for each in numbers]))
        return tuple(
            LimitsVersion.from_record(version, record) for version, record in zip(numbers, records, strict=True) if record
        )

    async def at(self, version: int) -> LimitsConfig:
        """`LimitsRegistry.at`."""
        text = await self._text("configs", str(version))
        if not text:
            raise UnknownVersion(version, await self.version())
        return LimitsConfig.from_json(text)

    async def close(self) -> None:
        """`LimitsRegistry.close`."""
        if self._owned:
            await self._client.aclose()

    async def _run(self, script: Script, values: Values) -> Answer:
        with answered_by(self._client):
            return Answer.read(await script.run_async(self._client, self._keys.prefix, *values))

    async def _text(self, name: str, field: str) -> bytes | None:
        with answered_by(self._client):
            return await cast("Any", self._client.hget(self._keys(name), field))
