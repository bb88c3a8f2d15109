"""The limits of a realm, as every process of it sees them: kept in Redis, under a version.

    registry = LimitsRegistry("redis://localhost")
    seen = registry.version()
    registry.apply("limits.toml", expected_version=seen, note="the new contract")
    registry.amend("service:llm_api", {"requests_per_minute": 30})
    registry.apply(registry.at(seen))              # back

Whatever is applied governs waiting work too, within a second, and keeps what is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .amendment import amended
from .config import LimitsConfig
from .errors import UnknownVersion, VersionConflict
from .keys import Keys
from .limits_version import LimitsVersion
from .publication import BRING, KEPT_VERSIONS, PUBLISH, Answer, Published, application, delivery, question
from .server import answered_by, connect

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from .lua import Client, Script
    from .publication import Values

ATTEMPTS = 5


class LimitsRegistry:
    """Reads and changes the definitions of one realm.

    Parameters
    ----------
    client:
        A redis-py client, or the URL of a server.
    realm:
        The name of the set of limits.

    Every method raises `ServerUnreachable` when nobody answers.
    """

    def __init__(self, client: Client | str, realm: Keys | str = "default") -> None:
        self._owned = isinstance(client, str)
        self._client = connect(client) if isinstance(client, str) else client
        self._keys = realm if isinstance(realm, Keys) else Keys(realm)

    def __repr__(self) -> str:
        return f"<LimitsRegistry {self._keys.realm}>"

    def apply(
        self,
        config: str | PathLike[str] | Mapping[str, Any] | LimitsConfig,
        *,
        expected_version: int | None = None,
        by: str = "",
        note: str = "",
        now_us: int | None = None,
    ) -> LimitsVersion:
        """Make `config` the realm's limits, for waiting work too. Returns the version in force.

        Buckets and windows keep their fill. Applying what is in force already changes nothing.

        Parameters
        ----------
        config:
            A path to a TOML file, a dict, or a `LimitsConfig`.
        expected_version:
            The version that was read before, 0 if there was none. Nothing: whatever is in force is replaced.
        by, note:
            Who does it and why, for the history. Nothing: the user and the host of this process.

        Raises
        ------
        VersionConflict
            Another version is in force; the error has it.
        ConfigError
            The limits are not valid. One line per mistake.
        ValueError
            `by` or `note` is longer than 1,000 characters.
        """
        values = application(LimitsConfig.load(config), expected_version, by, note, now_us)
        return self._run(PUBLISH, values).applied(expected_version)

    def publish(self, config: LimitsConfig) -> int:
        """`apply` to whatever is in force. Returns the number of the version."""
        return self.apply(config).version

    def amend(
        self,
        scope: str,
        settings: Mapping[str, Any] | None,
        *,
        expected_version: int | None = None,
        by: str = "",
        note: str = "",
        now_us: int | None = None,
    ) -> LimitsVersion:
        """Change some limits of one scope; see `amended`. What others apply meanwhile is kept."""
        attempts = ATTEMPTS if expected_version is None else 1
        while True:
            attempts -= 1
            seen = self.version() if expected_version is None else expected_version
            config = amended(self.at(seen) if seen else LimitsConfig(), scope, settings)
            try:
                return self.apply(config, expected_version=seen, by=by, note=note, now_us=now_us)
            except VersionConflict:
                if not attempts:
                    raise

    def bring(self, config: LimitsConfig, program: str, *, now_us: int | None = None) -> Answer:
        """Say which limits this process brings. They are put in force if they are new; see `bring.lua`.

        Parameters
        ----------
        config:
            The limits that the program comes with.
        program:
            Its name: what one program brings is compared with what it brought before.
        """
        answer = self._run(BRING, question(config, program, now_us))
        if answer.status is Published.WANTED:
            answer = self._run(BRING, delivery(config, program, now_us))
        return answer

    def version(self) -> int:
        """The version in force; 0 if nothing was ever applied."""
        with answered_by(self._client):
            return int(cast("bytes | None", self._client.get(self._keys("version"))) or 0)

    def current(self) -> LimitsConfig | None:
        """The configuration in force, or None if nothing was ever applied."""
        text = self._text("config", "json")
        return LimitsConfig.from_json(text) if text else None

    def history(self, most: int = KEPT_VERSIONS) -> tuple[LimitsVersion, ...]:
        """The last versions, the one in force first. 100 are kept."""
        latest = self.version()
        numbers = range(latest, max(0, latest - min(most, KEPT_VERSIONS)), -1)
        if not numbers:
            return ()
        with answered_by(self._client):
            records = cast("list[bytes | None]", self._client.hmget(self._keys("history"), [str(each) for each in numbers]))
        return tuple(
            LimitsVersion.from_record(version, record) for version, record in zip(numbers, records, strict=True) if record
        )

    def at(self, version: int) -> LimitsConfig:
        """The configuration of one version.

        Raises
        ------
        UnknownVersion
            There is none, or it is not kept any more.
        """
        text = self._text("configs", str(version))
        if not text:
            raise UnknownVersion(version, self.version())
        return LimitsConfig.from_json(text)

    def close(self) -> None:
        """Close the connections, if the registry was given a URL. A client stays open: it is the caller's."""
        if self._owned:
            self._client.close()

    def _run(self, script: Script, values: Values) -> Answer:
        with answered_by(self._client):
            return Answer.read(script(self._client, self._keys.prefix, *values))

    def _text(self, name: str, field: str) -> bytes | None:
        with answered_by(self._client):
            return cast("bytes | None", self._client.hget(self._keys(name), field))
