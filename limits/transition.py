"""A transition of a breaker, as the scripts wrote it down: the last thousand or so of a realm, for a week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from .breaker import Circuit

if TYPE_CHECKING:
    from .keys import Keys
    from .lua import Client

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Transition:
    """A breaker went from one state to another.

    Parameters
    ----------
    scope:
        Whose breaker it is, such as `service:llm_api`.
    before, after:
        The states.
    at:
        When. A cool-down ends by itself, and is written down when the first call comes after it.
    """

    scope: str
    before: Circuit
    after: Circuit
    at: datetime


def transitions(client: Client, keys: Keys, *, most: int = 100) -> tuple[Transition, ...]:
    """The latest transitions of a realm's breakers, newest first."""
    entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrevrange(keys("transitions"), count=most))
    return tuple(
        Transition(
            fields[b"scope"].decode(),
            Circuit(fields[b"before"].decode()),
            Circuit(fields[b"after"].decode()),
            _EPOCH + timedelta(microseconds=int(fields[b"at_us"])),
        )
        for _, fields in entries
    )
