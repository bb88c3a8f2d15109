"""An account is the list of limits that one charge touches: all of them are charged, or none.

It speaks the scripts' language: limits become arguments, replies become decisions.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING, Any

from .decision import Decision, Source
from .errors import CostTooLarge
from .limit import SECOND_US, LimitKind, Unit
from .line import opens_early
from .usage import LimitUsage, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .limit import Limit

_FIELDS, _FIELDS_OF_THE_REST = 5, 3
_NUMBERS = Struct("<ddd")


class Account:
    """The limits that one charge touches.

    Parameters
    ----------
    limits:
        Scope and limit, the widest scope first.
    called:
        The scope that a refusal by the called service concerns: its endpoint, or else the service; `""` for none.
    scopes:
        Names of the scopes, also of those without limits, which can be paused or closed too. Left out: those
        of the limits.
    is_below:
        Whether a part of the limits is reserved for higher priorities. Those do not stand in its line.

    Attributes
    ----------
    rules:
        The scopes and the limits as the scripts take them: two strings.
    settled_rules:
        Those limits that look at a charge again: slots that are freed, tokens that are settled.
    is_asked:
        Whether the server must be asked: there is a limit, or a service, which can be held back without one.
    has_slots, has_tokens:
        Whether any limit caps work in flight, or counts tokens.
    reports_to:
        The service that wants to know how the call ends, for its breaker or its adaptive share; `""` for none.
    line:
        Names the line of those who wait for the scopes that have limits; `""` where nobody is asked.
    early:
        Names each limit that may open before its time, for take_turn.lua.
    opens:
        Names the limits that open a bit when a call is settled, for settle.lua.
    """

    __slots__ = (
        "_capacities",
        "called",
        "early",
        "has_slots",
        "has_tokens",
        "is_asked",
        "limits",
        "line",
        "opens",
        "reports_to",
        "rules",
        "scopes",
        "settled_rules",
    )

    limits: tuple[tuple[str, Limit], ...]

    def __init__(
        self,
        limits: Iterable[tuple[str, Limit]],
        scopes: Iterable[str] | None = None,
        called: str = "",
        *,
        reports_to: str = "",
        is_below: bool = False,
    ) -> None:
        self.called = called
        self.limits = tuple(limits)
        self.reports_to = reports_to
        self.scopes = tuple(dict.fromkeys(scope for scope, _ in self.limits) if scopes is None else scopes)
        settled = [each for each in self.limits if each[1].kind is LimitKind.IN_FLIGHT or each[1].unit is Unit.TOKENS]
        self.rules = _as_rules(self.limits, self.scopes)
        self.settled_rules = _as_rules(settled)
        self.is_asked = bool(self.limits) or any(scope.startswith("service:") for scope in self.scopes)
        self.has_slots = any(limit.kind is LimitKind.IN_FLIGHT for _, limit in settled)
        self.has_tokens = any(limit.unit is Unit.TOKENS for _, limit in settled)
        limited = dict.fromkeys(scope for scope, _ in self.limits)
        rank = ("below",) if is_below else ()
        self.line = _line_of((*(limited or self.scopes), *rank)) if self.is_asked else ""
        self.early = "".join(f"{scope} {limit.id}\x1f" if opens_early(limit) else "\x1f" for scope, limit in self.limits)
        self.opens = "\x1f".join(f"{scope} {limit.id}" for scope, limit in settled)
        self._capacities = (_smallest(self.limits, Unit.REQUESTS), _smallest(self.limits, Unit.TOKENS))

    def check_cost(self, requests: int, tokens: int) -> None:
        """Raise `CostTooLarge` if a limit never holds as many units."""
        for cost, (capacity, binding) in zip((requests, tokens), self._capacities, strict=True):
            if cost > capacity:
                raise CostTooLarge(cost, int(capacity), binding)

    def observed(self) -> tuple[str, tuple[bytes, bytes]]:
        """The scope whose limits a response of the called service speaks of, and these limits as the scripts take them.

        An endpoint without limits of its own shares those of its service.
        """
        scope = self.called
        limits = [each for each in self.limits if each[0] == scope]
        if not limits and scope.startswith("endpoint:"):
            scope = f"service:{scope.removeprefix('endpoint:').partition('/')[0]}"
            limits = [each for each in self.limits if each[0] == scope]
        return scope, _as_rules(limits)

    def decision(self, reply: Sequence[Any]) -> Decision:
        """What acquire.lua said, or a stand-in in its place."""
        allowed, position, remaining, retry_after_us, reset_after_us = reply[:5]
        source = getattr(reply, "source", Source.REDIS)
        if not allowed and not position:
            return _held_back(reply[6], reply[7], retry_after_us)
        if not position:
            return Decision(bool(allowed), source=source)
        scope, limit = self.limits[int(position) - 1]
        retry_us = int(retry_after_us)
        return Decision(
            bool(allowed),
            int(remaining),
            retry_us / SECOND_US if retry_us >= 0 else float("inf"),
            int(reset_after_us) / SECOND_US,
            scope,
            limit.id,
            limit.capacity,
            source,
        )

    def usage(self, reply: Sequence[Any]) -> Usage:
        """What peek.lua said, limit by limit."""
        rows = (map(int, reply[at : at + _FIELDS]) for at in range(0, len(self.limits) * _FIELDS, _FIELDS))
        return Usage(
            LimitUsage(scope, limit, used, remaining, retry_after_us / SECOND_US, reset_after_us / SECOND_US, shadowed)
            for (scope, limit), (remaining, retry_after_us, reset_after_us, used, shadowed) in zip(self.limits, rows, strict=True)
        )

    def forecast(self, reply: Sequence[Any], requests: int, tokens: int) -> Decision:
        """The decision that acquire.lua would make where peek.lua looked; `remaining` is before the charge."""
        cost = {Unit.REQUESTS: requests, Unit.TOKENS: tokens}
        usages = [usage for usage in self.usage(reply) if cost[usage.limit.unit] and not usage.limit.shadow]
        held_back = self._held_back(reply)
        if held_back and all(usage.retry_after < held_back.retry_after for usage in usages):
            return held_back
        if not usages:
            return Decision(True)
        binding = max(usages, key=lambda usage: usage.retry_after)
        allowed = binding.retry_after <= 0
        if allowed:
            binding = min(usages, key=lambda usage: usage.remaining / usage.limit.capacity)
        return Decision(
            allowed,
            binding.remaining,
            binding.retry_after,
            binding.reset_after,
            binding.scope,
            binding.limit.id,
            binding.limit.capacity,
        )

    def _held_back(self, reply: Sequence[Any]) -> Decision | None:
        """The refusal of what peek.lua found besides the limits, if there was any."""
        rest = reply[len(self.limits) * _FIELDS :]
        found = [_held_back(*rest[at : at + _FIELDS_OF_THE_REST]) for at in range(0, len(rest), _FIELDS_OF_THE_REST)]
        return max(found, key=lambda decision: decision.retry_after, default=None)


def _held_back(scope: bytes, name: bytes, retry_after_us: int) -> Decision:
    """A refusal by what holds a scope besides its limits: it is paused, say."""
    seconds = int(retry_after_us) / SECOND_US
    return Decision(False, 0, seconds, seconds, scope.decode(), name.decode())


def check_count(name: str, count: int, least: int) -> int:
    """Return `count`, or raise `ValueError` naming it unless it is a whole number of at least `least`."""
    # A bool is an int to Python, and a float that is whole would be counted, but neither is meant.
    if type(count) is not int or count < least:
        raise ValueError(f"{name}: {count!r} is not allowed; use a whole number of at least {least}")
    return count


def packed(scope: str, limit: Limit) -> bytes:
    """A limit of a scope as parts/account.lua reads it."""
    texts = f"{scope}\0{limit.id}\0{limit.kind_in_scripts}\0{limit.unit}\0"
    return texts.encode() + _NUMBERS.pack(limit.capacity, limit.period_us, limit.refill)


def _as_rules(limits: Iterable[tuple[str, Limit]], scopes: Iterable[str] = ()) -> tuple[bytes, bytes]:
    return ("\x1f".join(scopes).encode(), b"".join(packed(scope, limit) for scope, limit in limits))


def _line_of(scopes: Iterable[str]) -> str:
    """The same for the same scopes, whatever their limits are; scopes are named by users and may be long."""
    return sha256("\x1f".join(scopes).encode()).hexdigest()[:16]


def _smallest(limits: Iterable[tuple[str, Limit]], unit: Unit) -> tuple[float, str]:
    """The least that a limit in this unit holds, and its name. Slots do not count: work takes one, whatever it costs."""
    return min(
        (
            (limit.capacity, f"{scope} {limit.id}")
            for scope, limit in limits
            if limit.unit is unit and limit.kind is not LimitKind.IN_FLIGHT and not limit.shadow
        ),
        default=(float("inf"), ""),
    )
