"""A line is the FIFO of those who wait for the limits of the same scopes, across processes and machines.

`lua/parts/line.lua` keeps it. The head alone is awake: it sleeps until its limits may open, and tries. Whoever is
behind listens, at the socket of a connection of its own, until its turn is announced; nobody polls a closed limit.

What a place in a line says and hears is here. The sync and the async waiters differ only in how they wait for it.
"""

from __future__ import annotations

import math
import secrets
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .limit import SECOND_US, LimitKind, Unit
from .lua import LIMITS_LUA, Script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .account import Account
    from .limit import Limit
    from .teller import Values

TAKE_TURN = Script(LIMITS_LUA / "take_turn.lua")
LEAVE_LINE = Script(LIMITS_LUA / "leave_line.lua")

WATCH_S = 2.0
"""How often a process looks whether the head of a line is still there, while it has somebody behind it."""
LOOK_S = 0.5
"""How long a head sleeps, at most, over a limit that may open before its time: a task of a worker ended, say."""
_RULES_AT = 7
_MOST_LINES = 1_024

Timeout = float | timedelta | None
"""Seconds, or a duration. None and 0 do not wait; `math.inf` waits for ever."""


def seconds_of(timeout: Timeout, now_us: int | None = None) -> float:
    """A timeout in seconds, 0.0 for None.

    Raises
    ------
    ValueError
        It is no number of seconds of at least 0, or the time was passed, which then stands still.
    """
    seconds: Any = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if seconds is None:
        return 0.0
    if type(seconds) not in (int, float) or not seconds >= 0:
        raise ValueError(f"timeout: {timeout!r} is not allowed; use seconds of at least 0, a timedelta or None")
    if seconds and now_us is not None:
        raise ValueError("timeout: while now_us is given, time stands still; give one of them")
    return float(seconds)


def opens_early(limit: Limit) -> bool:
    """Whether a limit may open before the time that it states: slots are freed, tokens are given back."""
    return limit.kind not in (LimitKind.WINDOW, LimitKind.BUCKET) or limit.unit is Unit.TOKENS


class Place:
    """One waiter's place in a line.

    Parameters
    ----------
    account:
        The limits that it waits for.
    charge:
        What acquire.lua takes.
    deadline_s:
        When it gives up, on the monotonic clock.
    """

    def __init__(self, account: Account, charge: Values, deadline_s: float) -> None:
        self.waiter = secrets.token_hex(8)
        self._account, self._charge, self._deadline_s = account, charge, deadline_s
        self._ticket: str | bytes = ""
        self.has_turn = False
        self._look_after_s = 0.0

    @property
    def channel(self) -> str:
        """Where its turn is announced."""
        return f"{self._charge[0]}:wake:{self.waiter}"

    @property
    def line(self) -> str:
        return self._account.line

    @property
    def stands(self) -> bool:
        """Whether it has a place to give up."""
        return bool(self._ticket)

    def left_s(self) -> float:
        """Seconds that it still waits."""
        return max(0.0, self._deadline_s - time.monotonic())

    def turn(self) -> Values:
        """What take_turn.lua takes: it tries, and stays if there is time left."""
        stays = "1" if self.left_s() else ""
        look_us = round(LOOK_S * SECOND_US)
        place = (self._account.line, self.waiter, self._ticket, stays, self._account.early, look_us)
        return (*self._charge[: _RULES_AT - 1], *place, *self._charge[_RULES_AT:])

    def departure(self) -> Values:
        """What leave_line.lua takes."""
        return (self._charge[0], self._charge[1], self._account.line, self.waiter)

    def note(self, answer: Sequence[Any]) -> list[Any]:
        """Take notice of what take_turn.lua said. Returns the decision in it."""
        decision, self._ticket, ahead, look_after_us = answer
        self.has_turn = not int(ahead)
        self._look_after_s = max(0, int(look_after_us)) / SECOND_US
        return decision

    def has_to_give_up(self, reply: Sequence[Any]) -> bool:
        """Whether it has left the line, or the limits surely open too late for it."""
        return not self._ticket or is_hopeless(self._account, reply, self.left_s())

    def pause_s(self) -> float:
        """Seconds until it has to look by itself, if it hears nothing."""
        return min(self._look_after_s if self.has_turn else WATCH_S, self.left_s())


def stated(reply: Sequence[Any]) -> list[Any]:
    """What acquire.lua said, where those who wait refuse like a limit."""
    return [max(0, int(reply[0])), *reply[1:]]


def passing_by(account: Account, charge: Values) -> Values:
    """What take_turn.lua takes of one who does not wait."""
    return (*charge[: _RULES_AT - 1], account.line, "", "", "", account.early, 0, *charge[_RULES_AT:])


def is_hopeless(account: Account, reply: Sequence[Any], left_s: float) -> bool:
    """Whether the limit that refuses cannot open within `left_s` seconds, whoever else gives up."""
    allowed, position, retry_after_us = int(reply[0]), int(reply[1]), int(reply[3])
    if allowed < 0:
        return False
    if retry_after_us < 0:
        return True
    return retry_after_us > left_s * SECOND_US and position > 0 and not opens_early(account.limits[position - 1][1])


class Watch:
    """Says which waiter of a process looks after the head of a line, so that one of them does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_s: dict[str, float] = {}

    def looked(self, line: str) -> None:
        """Somebody has looked, whatever for."""
        if len(self._looked_s) >= _MOST_LINES:
            self._looked_s.clear()
        self._looked_s[line] = self._clock()

    def is_due(self, line: str) -> bool:
        """Whether the caller has to look. Who asks next need not."""
        now_s = self._clock()
        # Two of them may look at the same moment; that costs a call and harms nobody.
        if now_s - self._looked_s.get(line, -math.inf) < WATCH_S:
            return False
        self.looked(line)
        return True
