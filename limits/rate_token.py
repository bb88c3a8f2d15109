"""A rate token stands for one call that its limits admitted: it settles the tokens and frees the slots.

    with limiter.acquire(service="llm_api", tokens=1_200) as token:
        reply = client.complete(prompt)
        token.settle(reply.usage.total_tokens)

An estimate is charged before the call, and what the call really cost is known only after it. If it was less,
the rest goes back to where it was counted, while it counts there. If it was more, the difference is charged
now, even if that overdraws the limit, because it is spent.

A token never gives back what may be spent. An exception inside `with` frees the slots and leaves the tokens
charged: nobody can tell whether the service had counted them. A call that surely never reached it is `failed()`;
one that its service refused for its rate is `throttled()`.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from .account import check_count
from .errors import ServerUnreachable
from .headers import parse_headers
from .limit import SECOND_US
from .lua import LIMITS_LUA, Script
from .outcome import Outcome
from .regulator import CLOSE, OBSERVE, closing, observing
from .throttling import retry_after_s

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from types import TracebackType

    from .account import Account
    from .decision import Decision
    from .headers import Headers
    from .link import Link
    from .observation import Observation

Values: TypeAlias = tuple[str | bytes | int, ...]

SETTLE, REPORT = Script(LIMITS_LUA / "settle.lua"), Script(LIMITS_LUA / "report.lua")
log = logging.getLogger(__name__)


class Charge:
    """What one call has charged and holds. Reads and writes nothing; the tokens build on it.

    Parameters
    ----------
    prefix:
        The realm's prefix.
    account:
        The limits that were charged.
    reply:
        What acquire.lua said.
    holder:
        Who has the slots; `""` for none.
    tokens:
        The estimate that was charged.
    """

    def __init__(self, prefix: str, account: Account, reply: Sequence[Any], *, holder: str, tokens: int) -> None:
        self._prefix, self._account, self._reply = prefix, account, reply
        self._holder, self._tokens = holder, tokens
        self._admitted_as = holder
        self._outcome = Outcome.OPEN
        self._is_settled = False
        self._name, self._corrections = "", 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._outcome}, {self._tokens} tokens, {self.decision.binding or 'no limit'}>"

    @property
    def decision(self) -> Decision:
        """The decision that admitted the call."""
        return self._account.decision(self._reply)

    @property
    def outcome(self) -> Outcome:
        """How the call ended."""
        return self._outcome

    @property
    def tokens(self) -> int:
        """The tokens that are charged: the estimate, then what was settled."""
        return self._tokens

    def _settlement(self, tokens: int, *, ends: bool, now_us: int | None) -> Values | None:
        """What settle.lua takes to make the charge `tokens`; None where nothing changes."""
        difference = tokens - self._tokens if self._account.has_tokens else 0
        holder = self._holder if ends and self._account.has_slots else ""
        if not difference and not holder:
            return None
        # Known by its name, a correction is made once, even if a lost reply makes redis-py send it twice.
        self._name = self._name or secrets.token_hex(8)
        name = f"{self._name}:{self._corrections}" if difference else ""
        at = "" if now_us is None else now_us
        opens = self._account.opens if holder or difference < 0 else ""
        return (self._prefix, at, name, int(self._reply[5]), holder, difference, opens, *self._account.settled_rules)

    def _report(self, outcome: Outcome, now_us: int | None) -> Values | None:
        """What report.lua takes; None where nobody counts."""
        if not self._account.reports_to:
            return None
        at = "" if now_us is None else now_us
        return (self._prefix, at, self._account.reports_to, outcome, self._admitted_as, int(self._reply[5]))

    def _closing(self, retry_after: float | timedelta | None, now_us: int | None) -> Values | None:
        """What close.lua takes to close the scope of the call; None where the call names no service."""
        seconds = retry_after_s(retry_after)
        return closing(self._prefix, self._account.called, seconds, now_us) if self._account.called else None

    def _observing(self, observation: Observation, now_us: int | None) -> Values | None:
        """What observe.lua takes; None where there is nothing to tighten."""
        scope, rules = self._account.observed()
        return observing(self._prefix, scope, rules, observation, now_us) if scope else None

    def _note(self, tokens: int, *, ends: bool) -> None:
        self._corrections += tokens != self._tokens
        self._tokens = tokens
        if ends:
            self._holder = ""

    def _unspent(self) -> int:
        """What a failed call is known to have cost."""
        return self._tokens if self._is_settled else 0


class RateToken(Charge):
    """One admitted call. Leaving the `with` block frees its slots; see the module for what happens to its tokens.

    Every method may be called again and then changes nothing. A token belongs to one thread at a time.
    """

    def __init__(self, link: Link, prefix: str, account: Account, reply: Sequence[Any], *, holder: str, tokens: int) -> None:
        super().__init__(prefix, account, reply, holder=holder, tokens=tokens)
        self._link = link

    def settle(self, actual_tokens: int, *, now_us: int | None = None) -> None:
        """Correct the charge to what the call has really cost. May be called again when more is known.

        Parameters
        ----------
        actual_tokens:
            Tokens; at least 0.
        now_us:
            Microseconds, for tests and the simulator; the server's clock decides otherwise.

        Raises
        ------
        ValueError
            `actual_tokens` is not a whole number of at least 0.
        ServerUnreachable
            Nobody answers. Calling again is safe.
        """
        self._correct(check_count("actual_tokens", actual_tokens, 0), ends=False, now_us=now_us)
        self._is_settled = True

    def ok(self, *, now_us: int | None = None) -> None:
        """End the call. Frees its slots; an estimate that was not settled stays charged."""
        self._end(Outcome.OK, self._tokens, now_us)

    def failed(self, *, now_us: int | None = None) -> None:
        """End a call that did not reach its service. Frees its slots, and gives the tokens back unless they were settled."""
        self._end(Outcome.FAILED, self._unspent(), now_us)

    def throttled(self, retry_after: float | timedelta | None = None, *, now_us: int | None = None) -> None:
        """End a call that its service refused for its rate (429), and leave the service alone for a while.

        The endpoint of the call, or else its service (of a `Limiter`: its scope), is closed for everybody, and
        opens as a ramp. Slots are freed, and the tokens given back unless they were settled: a refusal spends none.

        Parameters
        ----------
        retry_after:
            How long the service wants to be left alone: seconds, a timedelta, or None if it did not say (then it
            is a second). At most a day.
        now_us:
            Microseconds, for tests and the simulator; the server's clock decides otherwise.

        Raises
        ------
        TypeError
            `retry_after` is something else.
        ServerUnreachable
            Nobody answers. Calling again is safe.
        """
        values = self._closing(retry_after, now_us)
        if values and self._outcome is Outcome.OPEN:
            self._link.run(CLOSE, *values)
        self._end(Outcome.THROTTLED, self._unspent(), now_us)

    def observe(self, headers: Headers, status: int | None = None, *, now_us: int | None = None) -> Observation:
        """Take in what the response says of its service's limits; see `HierarchicalLimiter.observe`.

        A response that refused the call for its rate ends it, as `throttled` does.
        """
        observation = parse_headers(headers, status, now_s=None if now_us is None else now_us / SECOND_US)
        if values := self._observing(observation, now_us):
            self._link.run(OBSERVE, *values)
        if observation.is_throttled:
            self._end(Outcome.THROTTLED, self._unspent(), now_us)
        return observation

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self._end(Outcome.OK if error is None else Outcome.FAILED, self._tokens, None)
        except ServerUnreachable as unreachable:
            # The work is done, and its result must not be lost for a slot that lapses with its lease.
            log.warning("a slot is not freed and lapses with its lease: %s", unreachable)

    def _end(self, outcome: Outcome, tokens: int, now_us: int | None) -> None:
        if self._outcome is Outcome.OPEN:
            self._correct(tokens, ends=True, now_us=now_us)
            if values := self._report(outcome, now_us):
                self._link.run(REPORT, *values)
            self._outcome = outcome

    def _correct(self, tokens: int, *, ends: bool, now_us: int | None) -> None:
        if values := self._settlement(tokens, ends=ends, now_us=now_us):
            self._link.run(SETTLE, *values)
        self._note(tokens, ends=ends)
