"""The limits of a realm, as every process of it sees them: kept in Redis, under a version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from .limit import Limit
from .lua import LIMITS_LUA, Client, Script

if TYPE_CHECKING:
    from .config import LimitsConfig
    from .keys import Keys

PUBLISH = Script(LIMITS_LUA / "publish.lua")


class LimitsRegistry:
    """Publishes and reads the definitions of one realm."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client, self._keys = client, keys

    def publish(self, config: LimitsConfig) -> int:
        """Make `config` the realm's limits, for waiting work too. Returns the version in force.

        Buckets and windows keep their fill. Publishing what is in force already changes nothing.
        """
        return cast(int, PUBLISH(self._client, *publication(config, self._keys)))

    def version(self) -> int:
        """The version in force; 0 if nothing was ever published."""
        return int(cast("bytes | None", self._client.get(self._keys("version"))) or 0)

    def current(self) -> LimitsConfig | None:
        """The configuration in force, or None if nothing was ever published."""
        from .config import LimitsConfig

        text = cast("bytes | None", self._client.hget(self._keys("config"), "json"))
        return LimitsConfig.from_json(text) if text else None


def publication(config: LimitsConfig, keys: Keys) -> tuple[str, ...]:
    """What publish.lua takes to make `config` the limits of a realm."""
    rules: list[str] = []
    for scope, limits in config.definitions().items():
        rules += (scope, json.dumps([_as_rule(limit) for limit in limits]))
    for service, table in config.services.items():
        if governors := table.governors():
            rules += (f"governors:{service}", json.dumps(governors))
    return (keys.prefix, config.digest, config.to_json(), json.dumps(rules))


def _as_rule(limit: Limit) -> list[str | int]:
    return [limit.id, limit.kind_in_scripts, limit.capacity, limit.period_us, limit.refill, limit.unit]
