"""The outbox: releases that are to be published, where the broker is not the realm's own server.

A release writes itself down there in one step with its charge and its lease. Any number of publishers take from it,
each release for a while; publish; and confirm. One that dies leaves what it had taken to the next. So a release may be
published twice, under the same fence, and only one of the copies can be claimed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..limits.limit import SECOND_US
from ..limits.link import Link
from ..limits.lua import LIMITS_LUA, Client, Script

if TYPE_CHECKING:
    from ..limits.keys import Keys

_LUA = Path(__file__).parent / "lua"
_TAKE, _CONFIRM = (Script(_LUA / f"{name}.lua", LIMITS_LUA) for name in ("take_releases", "confirm_releases"))
SCRIPTS = (_TAKE, _CONFIRM)
_PREFIX = "outbox:"


@dataclass(frozen=True, slots=True)
class Release:
    """A release that is to be published.

    Parameters
    ----------
    task, fence:
        The task's id, with its attempt, and the fence of this release.
    queue:
        The name of the broker's queue.
    envelope:
        The message, as kombu writes it on a list of Redis.
    """

    task: str
    fence: int
    queue: str
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """What a publisher has got.

    Parameters
    ----------
    releases:
        Its own for a while, oldest first.
    asked:
        The queues of which it is to say whether they are empty.
    at_us:
        When that was, by the server's clock.
    next_in_s:
        Seconds until another release may be taken, 0 for at once; None if there is none.
    """

    releases: list[Release]
    asked: list[str]
    at_us: int
    next_in_s: float | None


class Outbox:
    """The outbox of a realm. Every method takes `now_us`, which only tests pass: the server's clock decides.

    Parameters
    ----------
    client, keys:
        Where the realm lives.
    claim_within_s:
        How long a release may stay unclaimed once it is published.
    """

    def __init__(self, client: Client, keys: Keys, *, claim_within_s: float = 30.0) -> None:
        self._client, self._keys = client, keys
        self._run = Link(client).call
        self._claim_within_us = round(claim_within_s * SECOND_US)

    def key(self, queue: str) -> str:
        """What the scheduler calls a queue of the broker, as `Lane.queue`."""
        return self._keys(_PREFIX + queue)

    def take(self, most: int, within_s: float, *, now_us: int | str = "") -> Taken:
        """Take at most so many releases, to be published `within_s` seconds: then they are given to another."""
        now, next_us, asked, *values = self._run(_TAKE, self._keys.prefix, now_us, most, round(within_s * SECOND_US))
        rows = zip(values[::4], values[1::4], values[2::4], values[3::4], strict=True)
        releases = [Release(task.decode(), int(fence), self._name(queue), sent) for fence, task, queue, sent in rows]
        wait_us = int(next_us)
        return Taken(releases, [self._name(queue) for queue in asked], int(now), wait_us / SECOND_US if wait_us >= 0 else None)

    def confirm(self, releases: Iterable[Release], *, now_us: int | str = "") -> int:
        """The broker has these. Returns how many nobody had confirmed before."""
        values = [value for each in releases for value in (each.fence, each.task)]
        return self._run(_CONFIRM, self._keys.prefix, now_us, self._claim_within_us, *values) if values else 0

    def give_back(self, releases: Iterable[Release], *, not_before_us: int | None = None) -> None:
        """Leave these to whoever comes next, or to nobody before a time of the server's clock."""
        scores = {_entry(each): each.fence if not_before_us is None else not_before_us for each in releases}
        if scores:
            self._client.zadd(self._keys("releasing"), cast("Any", scores), xx=True)

    def tasks(self) -> set[str]:
        """The tasks whose releases are to be published, or are being published."""
        entries = cast("list[bytes]", self._client.zrange(self._keys("releasing"), 0, -1))
        return {entry.decode().partition("\x1e")[2] for entry in entries}

    def seen_empty(self, queue: str, at_us: int) -> None:
        """No message lay in the broker's queue at that time or later: all that were published before have come to a worker."""
        self._client.hset(self._keys("emptied"), self.key(queue), str(at_us))

    def _name(self, key: bytes) -> str:
        return key.decode().removeprefix(self._keys(_PREFIX))


def _entry(release: Release) -> str:
    return f"{release.fence}\x1e{release.task}"
