"""A regulator holds a scope back besides its limits: somebody paused it, or its service closed it for a time.

    regulator = Regulator(client, Keys("default"))
    regulator.close("service:llm_api", 30.0, reason="429")      # for everybody; opens by itself, as a ramp
    regulator.pause("service:llm_api", by="ops")                # until
    regulator.resume("service:llm_api")

What is held waits in its lanes, with no attempt spent, and limiters refuse. The state is in Redis, so it holds
in every process of the realm; `lua/parts/regulator.lua` says how. States of a scope:

    open ── close ──▶ closed ── its time has come ──▶ reopening ── 5 s ──▶ open
    any  ── pause ──▶ paused ── resume ──▶ what it would be without the pause
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import InvalidScope
from .limit import SECOND_US, Unit
from .lua import LIMITS_LUA, Script
from .observation import Quota
from .scope import TEMPLATE, check_name
from .throttling import LONGEST_RETRY_AFTER_S, retry_after_s

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .keys import Keys
    from .lua import Client
    from .observation import Observation

PAUSE, RESUME = Script(LIMITS_LUA / "pause.lua"), Script(LIMITS_LUA / "resume.lua")
CLOSE, REGULATORS = Script(LIMITS_LUA / "close.lua"), Script(LIMITS_LUA / "regulators.lua")
OBSERVE = Script(LIMITS_LUA / "observe.lua")
THROTTLED = "throttled"
MAX_COUNT = 10**15
_STATEMENT = re.compile(r"(\d+)@(\d+)")
LONGEST_CLOSURE_S = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class RegulatorState:
    """What holds a scope besides its limits, at one moment.

    Parameters
    ----------
    scope:
        Whose state it is.
    paused_by:
        Who paused it (`""`: did not say); None if nobody has.
    closed_for_s:
        Seconds until it opens; 0.0 if it is not closed.
    reason:
        Why it was closed, until its ramp is over.
    is_reopening:
        Whether it opened a moment ago, and its admissions ramp up.
    quotas:
        What its service said that it has left, less what was admitted since, where that is less than the limits
        had left.
    """

    scope: str
    paused_by: str | None = None
    closed_for_s: float = 0.0
    reason: str = ""
    is_reopening: bool = False
    quotas: tuple[Quota, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it admits what its limits allow."""
        return self.paused_by is None and not self.closed_for_s

    def __str__(self) -> str:
        if self.paused_by is not None:
            return f"{self.scope}: paused{f' by {self.paused_by}' if self.paused_by else ''}"
        if self.closed_for_s:
            return f"{self.scope}: closed for {self.closed_for_s:.1f} s more{f' ({self.reason})' if self.reason else ''}"
        observed = (f"{quota.remaining} {quota.unit} left for {quota.reset_s:.1f} s" for quota in self.quotas)
        return f"{self.scope}: {', '.join(['reopening' if self.is_reopening else 'open', *observed])}"


class Regulator:
    """Holds the scopes of one realm back, and says which are held.

    Parameters
    ----------
    client, keys:
        Where the realm lives.

    Scopes are given by name: `global`, `service:llm_api`, `endpoint:llm_api/chat`, `loop_type:planner`,
    `loop:planner-7`, or the name of a `Limiter`. Every method takes `now_us`, which only tests and the
    simulator pass, and returns the state after it.
    """

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client, self._realm = client, keys.prefix

    def pause(self, scope: str, *, by: str = "", now_us: int | str = "") -> RegulatorState:
        """Admit nothing until `resume`.

        What is released already runs. `by` is remembered, and shown to whoever wonders.

        Raises
        ------
        InvalidScope
            No scope can have this name.
        """
        _check(scope)
        return states_in(PAUSE(self._client, self._realm, now_us, scope, by))[0]

    def resume(self, scope: str, *, now_us: int | str = "") -> RegulatorState:
        """Lift the pause; where there is none, open what is closed. What waits goes on at once."""
        _check(scope)
        return states_in(RESUME(self._client, self._realm, now_us, scope))[0]

    def close(self, scope: str, seconds: float, *, reason: str = "", now_us: int | str = "") -> RegulatorState:
        """Admit nothing for so many seconds, then ramp up. A closure that ends later stays as it is.

        Raises
        ------
        ValueError
            `seconds` is not a positive number, or more than a year.
        """
        _check(scope)
        return states_in(CLOSE(self._client, self._realm, now_us, scope, closure_us(seconds), reason))[0]

    def state(self, scope: str, *, now_us: int | str = "") -> RegulatorState:
        """What holds one scope."""
        _check(scope)
        return states_in(REGULATORS(self._client, self._realm, now_us, scope))[0]

    def states(self, *, now_us: int | str = "") -> tuple[RegulatorState, ...]:
        """What is held, by name."""
        found = states_in(REGULATORS(self._client, self._realm, now_us))
        # A record may hold what a breaker or an adaptive share keeps there, and nothing else.
        return tuple(state for state in found if state != RegulatorState(state.scope))


def closure_us(seconds: float) -> int:
    """How long a closure lasts, in microseconds; or `ValueError`."""
    if not 0 < seconds <= LONGEST_CLOSURE_S or isinstance(seconds, bool):
        raise ValueError(f"seconds: {seconds!r} is not allowed; use a positive number of seconds, a year at most")
    return math.ceil(seconds * SECOND_US)


def closing(prefix: str, scope: str, seconds: float, now_us: int | None) -> tuple[str | int, ...]:
    """What close.lua takes for a scope whose service refused a call."""
    return (prefix, "" if now_us is None else now_us, scope, closure_us(seconds), THROTTLED)


def observing(
    prefix: str, scope: str, rules: Sequence[bytes], observation: Observation, now_us: int | None
) -> tuple[str | bytes | int, ...] | None:
    """What observe.lua takes; None if the observation says nothing that could tighten a limit.

    Parameters
    ----------
    prefix:
        The realm's prefix.
    scope, rules:
        Whose limits the service spoke of, and these.
    observation:
        What it said.
    now_us:
        Microseconds; None lets the server decide.
    """
    statements: list[str] = []
    for quota in observation.quotas:
        resets_us = 0 if quota.reset_s is None else _bounded_us(quota.reset_s)
        if quota.remaining is not None and resets_us:
            statements.append(f"{quota.unit} {min(max(quota.remaining, 0), MAX_COUNT)} {resets_us}")
    closed_us = closure_us(_closed_s(observation)) if observation.is_throttled else 0
    if not statements and not closed_us:
        return None
    at = "" if now_us is None else now_us
    return (prefix, at, scope, closed_us, THROTTLED, "\n".join(statements), *rules)


def _closed_s(observation: Observation) -> float:
    """How long a service that refused a call is to be left alone: as it says, or until what has run out is reset."""
    if observation.retry_after_s is None:
        resets = [quota.reset_s for quota in observation.quotas if quota.remaining == 0 and quota.reset_s is not None]
        return retry_after_s(max(resets, default=None))
    return retry_after_s(observation.retry_after_s)


def _bounded_us(seconds: float) -> int:
    """Microseconds until a reset; 0 where there is none to wait for."""
    return round(min(seconds, LONGEST_RETRY_AFTER_S) * SECOND_US) if seconds > 0 else 0


def _check(scope: str) -> None:
    check_name("scope", scope)
    if scope.endswith(TEMPLATE):
        raise InvalidScope("scope", scope, "name one scope: '*' stands for all that are not named")


def states_in(reply: Sequence[Any]) -> tuple[RegulatorState, ...]:
    """What a script about regulators said."""
    now_us, *records = reply
    states: list[RegulatorState] = []
    for scope, *pairs in records:
        fields = {name.decode(): value.decode() for name, value in zip(pairs[::2], pairs[1::2], strict=True)}
        states.append(_state(scope.decode(), fields, now_us))
    return tuple(states)


def _state(scope: str, fields: Mapping[str, str], now_us: int) -> RegulatorState:
    closed_for_us = int(fields.get("closed_until", 0)) - now_us
    return RegulatorState(
        scope,
        paused_by=fields.get("paused_by"),
        closed_for_s=max(0, closed_for_us) / SECOND_US,
        reason=fields.get("reason", ""),
        is_reopening="closed_until" in fields and closed_for_us <= 0,
        quotas=tuple(
            Quota(unit, None, int(left), (int(resets_us) - now_us) / SECOND_US)
            for unit in Unit
            for left, resets_us in _STATEMENT.findall(fields.get(f"{unit}_left", ""))
            if int(resets_us) > now_us
        ),
    )
