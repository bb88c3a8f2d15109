"""A teller takes charges to the script and brings its decisions back. Reads and writes nothing itself.

The sync and the async limiters differ only in how they wait for the server; what they send and what they make
of the answer is here.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from .batch import Entry
from .decision import Source
from .keys import Keys
from .limit import SECOND_US
from .lua import LIMITS_LUA, Script
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .account import Account
    from .batch import Batch
    from .decision import Decision

Values: TypeAlias = tuple[str | bytes | int, ...]
T = TypeVar("T")

ACQUIRE = Script(LIMITS_LUA / "acquire.lua")
PEEK = Script(LIMITS_LUA / "peek.lua")
DEFAULT_LEASE_S = 600.0
# What acquire.lua would answer where no limit applies. Nobody asks it.
UNCHARGED = (1, 0, 0, 0, 0, 0)


class Teller:
    """One realm's charges, as one limiter makes them.

    Parameters
    ----------
    realm:
        The realm's name.
    lease_s:
        Seconds until a slot lapses whose holder was never heard of again.
    """

    def __init__(self, realm: str, lease_s: float) -> None:
        if not lease_s > 0:
            raise ValueError(f"lease_s: {lease_s!r} is not allowed; use seconds above 0")
        self.prefix = Keys(realm).prefix
        self.lease_us = round(lease_s * SECOND_US)
        self._tally = Tally()
        self.statistics = self._tally.statistics

    def holder(self, account: Account) -> str:
        """A new name for who takes slots, if there are any to take, or may be a probe of a breaker."""
        return secrets.token_hex(8) if account.has_slots or account.reports_to else ""

    def charge(self, account: Account, requests: int, tokens: int, holder: str, now_us: int | None) -> Values:
        """What acquire.lua takes.

        Raises
        ------
        CostTooLarge
            A limit never holds as many units.
        """
        account.check_cost(requests, tokens)
        at = "" if now_us is None else now_us
        return (self.prefix, at, holder, self.lease_us, requests, tokens, account.line, *account.rules)

    def entry(self, account: Account, requests: int, tokens: int) -> Entry:
        """One call of a batch. Raises `CostTooLarge` as `charge` does."""
        account.check_cost(requests, tokens)
        return Entry(account, requests, tokens, self.holder(account))

    def charge_many(self, batch: Batch, now_us: int | None) -> Values:
        """What acquire_many.lua takes."""
        return batch.values(self.prefix, self.lease_us, now_us)

    def answers(self, batch: Batch, reply: Sequence[Any], token: Callable[..., T]) -> Iterator[T | Decision]:
        """What acquire_many.lua said: for each call its token, or the decision that refused it. Counted."""
        for entry, said in batch.decisions(reply):
            if self.admits(said, entry.requests, entry.tokens):
                yield token(self.prefix, entry.account, said, holder=entry.holder, tokens=entry.tokens)
            else:
                yield entry.account.decision(said)

    def look(self, account: Account, requests: int, tokens: int, now_us: int | None) -> Values:
        """What peek.lua takes."""
        at = "" if now_us is None else now_us
        return (self.prefix, at, requests, tokens, *account.rules)

    def admits(self, reply: Sequence[Any], requests: int, tokens: int) -> bool:
        """Whether acquire.lua, or a stand-in, admitted the call, counted."""
        allowed = bool(reply[0])
        self._tally.count(requests, tokens, allowed=allowed, source=getattr(reply, "source", Source.REDIS))
        return allowed
