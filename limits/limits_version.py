"""A limits version says which limits were in force since when, and who put them there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LimitsVersion:
    """One version of a realm's limits.

    Parameters
    ----------
    version:
        Counts from 1; every change is a new one.
    digest:
        Names the content, as `LimitsConfig.digest`.
    by, note:
        Who put it in force, and why; `""` where nobody said.
    at:
        When, by the server's clock, in UTC.
    """

    version: int
    digest: str
    by: str
    at: datetime
    note: str = ""

    def __str__(self) -> str:
        note = f": {self.note}" if self.note else ""
        return f"version {self.version} by {self.by or 'somebody'} at {self.at:%Y-%m-%d %H:%M:%S} UTC{note}"

    @classmethod
    def from_record(cls, version: int, record: bytes) -> LimitsVersion:
        """What the scripts have stored of a version."""
        stored: dict[str, str] = json.loads(record)
        at = _EPOCH + timedelta(microseconds=int(stored["at_us"]))
        return cls(version, stored["digest"], stored["by"], at, stored["note"])
