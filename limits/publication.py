"""A publication is what a process sends to change a realm's limits, and what it makes of the answer. Reads and writes nothing."""

from __future__ import annotations

import getpass
import json
import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from .backlog_table import Overflow
from .config import LimitsConfig
from .errors import VersionConflict
from .limits_version import LimitsVersion
from .lua import LIMITS_LUA, Script
from .quotation import one_line
from .scope import template_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .backlog_table import BacklogTable
    from .limit import Limit

    Values: TypeAlias = tuple[str | int, ...]

PUBLISH = Script(LIMITS_LUA / "publish.lua")
BRING = Script(LIMITS_LUA / "bring.lua")
KEPT_VERSIONS = 100
_MAX_TEXT = 1_000


class Published(StrEnum):
    """What came of a publication; see `publish.lua` and `bring.lua`."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    SUPERSEDED = "superseded"
    WANTED = "wanted"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script said: what came of it, and the version in force now, with its record if there is one."""

    status: Published
    version: int
    record: LimitsVersion | None

    @classmethod
    def read(cls, reply: Sequence[Any]) -> Answer:
        status, version, record = reply
        return cls(Published(status.decode()), version, LimitsVersion.from_record(version, record) if record else None)

    def applied(self, expected: int | None) -> LimitsVersion:
        """The version in force, or `VersionConflict`."""
        if self.status is Published.CONFLICT or self.record is None:
            raise VersionConflict(expected or 0, self.record)
        return self.record


def application(config: LimitsConfig, expected: int | None, by: str, note: str, now_us: int | None) -> Values:
    """What publish.lua takes after the realm's prefix."""
    return (_time(now_us), "" if expected is None else expected, *_content(config), *_signature(by, note))


def question(config: LimitsConfig, program: str, now_us: int | None) -> Values:
    """What bring.lua takes after the realm's prefix, to learn whether the configuration is wanted."""
    return (_time(now_us), program, config.digest, "", "", "", "")


def delivery(config: LimitsConfig, program: str, now_us: int | None) -> Values:
    """What bring.lua takes after the realm's prefix, with the configuration."""
    return (_time(now_us), program, *_content(config), *_signature("", f"brought by {program}"))


def whoami() -> str:
    """The user and the host of this process."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number that has no name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def _time(now_us: int | None) -> int | str:
    return "" if now_us is None else now_us


def _content(config: LimitsConfig) -> tuple[str, str, str]:
    rules: list[str] = []
    definitions, order, backlogs = config.definitions(), config.order(), config.backlogs()
    for scope in dict.fromkeys((*definitions, *order, *backlogs)):
        stated: list[Any] = [_as_rule(limit) for limit in definitions.get(scope, ())]
        besides = {**order.get(scope, {}), **({"cap": _as_cap(scope, backlogs[scope])} if scope in backlogs else {})}
        rules += (scope, json.dumps([*stated, besides] if besides else stated))
    if backlogs:
        rules += ("backlogs", json.dumps({scope: _counted(scope, cap, definitions) for scope, cap in backlogs.items()}))
    for service, table in config.services.items():
        if governors := table.governors():
            rules += (f"governors:{service}", json.dumps(governors))
    return config.digest, config.to_json(), json.dumps(rules)


def _signature(by: str, note: str) -> tuple[str, str]:
    return _text("by", by or whoami()), _text("note", note)


def _text(name: str, text: str) -> str:
    if len(text) > _MAX_TEXT:
        raise ValueError(f"{name}: {len(text)} characters are too many; use at most {_MAX_TEXT}")
    return one_line(text)


def _as_cap(scope: str, backlog: BacklogTable) -> dict[str, str | int]:
    """The cap on what waits, under the name of the table that states it; 0 is no cap."""
    return {
        "key": scope, "tasks": backlog.limit or 0, "bytes": backlog.most_bytes or 0,
        "overflow": str(backlog.overflow), "block_us": backlog.block_us,
    }  # fmt: skip


def _counted(scope: str, backlog: BacklogTable, definitions: Iterable[str]) -> str:
    """What is counted for a cap, and how. While this stays the same, so does what is counted."""
    indexed = str(backlog.overflow) if backlog.overflow is Overflow.SHED else ""
    named = sorted(name for name in definitions if template_of(name) == scope and name != scope)
    return " ".join((indexed, *named))


def _as_rule(limit: Limit) -> list[str | int]:
    rule = [limit.id, limit.kind_in_scripts, limit.capacity, limit.period_us, limit.refill, limit.unit]
    return [*rule, limit.reserved, limit.reserved_for] if limit.reserved else rule
