"""Every key that Turgor stores, in one place.

A realm is one set of limits and the work that waits for them. All its keys begin with the hash tag
`{turgor:<realm>}`, so that they live in one slot of a Redis Cluster. The scripts get that prefix as
KEYS[1] and build the same names in `lua/parts/keys.lua`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InvalidScope

_REALM = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one realm.

    Raises
    ------
    InvalidScope
        The realm's name has other characters than letters, digits, `_`, `.`, `-`, or over 64 of them.
    """

    realm: str = "default"

    def __post_init__(self) -> None:
        if not _REALM.fullmatch(self.realm):
            raise InvalidScope("realm", self.realm, "use up to 64 letters, digits, '_', '.' or '-'")

    @property
    def prefix(self) -> str:
        return f"{{turgor:{self.realm}}}"

    def __call__(self, name: str) -> str:
        """The key called `name`, such as `ready` or `lane:<lane>`."""
        return f"{self.prefix}:{name}"

    def limit(self, scope: str, limit_id: str) -> str:
        """State of one limit: a bucket's arrival time, a window's counts, the slots in flight."""
        return self(f"limit:{scope}:{limit_id}")

    def limits(self, version: int | str) -> str:
        """Hash of one version of the definitions: scope -> JSON list of limits."""
        return self(f"limits:{version}")
