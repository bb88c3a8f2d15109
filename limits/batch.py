"""A batch is some calls that one script decides, in their order. Reads and writes nothing itself.

Many calls share limits, so each limit goes to the script once, each account (the limits of a call) as positions among
them, and each call as the position of its account. A batch has a bound: the server does nothing else while it decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .account import packed
from .lua import LIMITS_LUA, Script

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .account import Account

Values: TypeAlias = tuple[str | bytes | int, ...]

ACQUIRE_MANY = Script(LIMITS_LUA / "acquire_many.lua")
MOST_CALLS = 100
# So many limits are also less than the 8,000 values that Lua unpacks at most.
MOST_CHARGES = 500
_FIELDS_OF_REPLY = 6


class Entry(NamedTuple):
    """One call: what it charges, if all its limits allow.

    Parameters
    ----------
    account:
        The limits.
    requests, tokens:
        Units.
    holder:
        Who takes slots; `""` for nobody.
    """

    account: Account
    requests: int
    tokens: int
    holder: str


class Batch:
    """Some calls, as acquire_many.lua takes them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._positions: dict[bytes, int] = {}
        self._accounts: dict[Account, int] = {}
        self._members: list[bytes | int] = []
        self._calls: list[str | int] = []
        self._charges = 0

    @property
    def is_asked(self) -> bool:
        """Whether the server must be asked."""
        return any(account.is_asked for account in self._accounts)

    def has_room_for(self, entry: Entry) -> bool:
        """Whether one more call keeps within the bounds; the first one always does."""
        charges = self._charges + len(entry.account.limits)
        return not self.entries or (len(self.entries) < MOST_CALLS and charges <= MOST_CHARGES)

    def add(self, entry: Entry) -> None:
        """Decide this call, too, after the others."""
        self.entries.append(entry)
        self._charges += len(entry.account.limits)
        account = self._accounts.get(entry.account) or self._enter(entry.account)
        self._calls += (account, entry.holder, entry.requests, entry.tokens)

    def values(self, prefix: str, lease_us: int, now_us: int | None) -> Values:
        """What acquire_many.lua takes."""
        at = "" if now_us is None else now_us
        return (prefix, at, lease_us, b"".join(self._positions), len(self._accounts), *self._members, *self._calls)

    def decisions(self, reply: Sequence[Any]) -> Iterator[tuple[Entry, list[Any]]]:
        """Each call, with the reply that acquire.lua would have given to it."""
        now_us, at = reply[0], 1
        for entry in self.entries:
            *said, besides = reply[at : at + _FIELDS_OF_REPLY]
            yield entry, [*said, now_us, *(besides.split(b"\x1f") if besides else ())]
            at += _FIELDS_OF_REPLY

    @property
    def uncharged(self) -> Sequence[int | bytes]:
        """What acquire_many.lua would answer where no limit applies. Nobody asks it."""
        return (0, *(1, 0, 0, 0, 0, b"") * len(self.entries))

    def _enter(self, account: Account) -> int:
        self._members += (account.rules[0], len(account.limits))
        for limit in account.limits:
            self._members.append(self._positions.setdefault(packed(*limit), len(self._positions) + 1))
        number = self._accounts[account] = len(self._accounts) + 1
        return number


def batches(entries: Iterable[Entry]) -> Iterator[Batch]:
    """The calls in their order, in as few batches as the bounds allow."""
    batch = Batch()
    for entry in entries:
        if not batch.has_room_for(entry):
            yield batch
            batch = Batch()
        batch.add(entry)
    if batch.entries:
        yield batch
