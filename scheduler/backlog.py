"""What waits of a scope, beside its cap. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ..limits.scope import TEMPLATE
from ..limits.size import format_size

if TYPE_CHECKING:
    from ..limits.config import LimitsConfig
    from ..limits.keys import Keys
    from ..limits.lua import Client

_BYTES = "|bytes"


@dataclass(frozen=True, slots=True)
class Backlog:
    """One scope's waiting work, delayed work included.

    Parameters
    ----------
    scope:
        Its name, such as `service:llm_api`.
    tasks, bytes:
        What waits; as little as was counted so far, while a new cap is filled.
    most_tasks, most_bytes:
        What may; None for any number.
    """

    scope: str
    tasks: int
    bytes: int
    most_tasks: int | None
    most_bytes: int | None

    @property
    def pressure(self) -> float:
        """How full it is: 1 for as much as may wait."""
        shares = ((self.tasks, self.most_tasks), (self.bytes, self.most_bytes))
        return max(waits / most if most else 0.0 for waits, most in shares)

    def __str__(self) -> str:
        tasks = f"{self.tasks} of {self.most_tasks} tasks" if self.most_tasks else f"{self.tasks} tasks"
        most = f" of {format_size(self.most_bytes)}" if self.most_bytes else ""
        return f"{self.scope}: {tasks}, {format_size(self.bytes)}{most} wait"


def backlogs(client: Client, keys: Keys, config: LimitsConfig) -> tuple[Backlog, ...]:
    """The backlog of each scope that has a cap and waiting work, the fullest first."""
    found: list[Backlog] = []
    for name, cap in config.backlogs().items():
        stored = cast("dict[bytes, bytes]", client.hgetall(keys(f"backlog:{name}")))
        counts = {field.decode(): int(count) for field, count in stored.items()}
        scopes = [scope for scope in counts if not scope.endswith(_BYTES)] if name.endswith(TEMPLATE) else [name]
        found += (
            Backlog(scope, counts.get(scope, 0), counts.get(scope + _BYTES, 0), cap.limit, cap.most_bytes) for scope in scopes
        )
    return tuple(sorted((each for each in found if each.tasks), key=lambda each: each.pressure, reverse=True))
