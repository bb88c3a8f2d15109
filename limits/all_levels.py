"""All levels are the limits of a call at each of its scopes: what the sync and the async hierarchical limiter share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from .account import check_count
from .account_book import AccountBook, Names
from .config import LimitsConfig
from .desk import Ask
from .keys import Keys
from .line import Timeout, seconds_of
from .priority import check_priority
from .teller import Teller

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from .batch import Entry
    from .call import Call
    from .tally import LimiterStatistics

    LimitsSource: TypeAlias = str | PathLike[str] | Mapping[str, Any] | LimitsConfig | None


class AllLevels:
    """What `HierarchicalLimiter` and `AsyncHierarchicalLimiter` share: accounts, and what is sent and made of the answer."""

    def __init__(self, realm: str, lease_s: float) -> None:
        self._keys = Keys(realm)
        self._teller = Teller(realm, lease_s)
        self._book = AccountBook(LimitsConfig())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._keys.realm}>"

    def statistics(self) -> LimiterStatistics:
        """What this limiter has said so far."""
        return self._teller.statistics()

    def _book_of(self, config: LimitsConfig) -> AccountBook:
        book = self._book
        if book.config is not config:
            self._book = book = AccountBook(config)
        return book

    def _ask(
        self,
        book: AccountBook,
        names: Names,
        weight: int,
        tokens: int,
        priority: int,
        *,
        timeout: Timeout = None,
        now_us: int | None,
    ) -> Ask:
        account = book.of_call(names, check_priority(priority))
        check_count("weight", weight, 1)
        check_count("tokens", tokens, 0)
        timeout_s = 0.0 if timeout is None else seconds_of(timeout, now_us)
        return Ask(account, weight, tokens, self._teller.holder(account), now_us, timeout_s, book.policy_of(names[0]))

    def _entries(self, book: AccountBook, calls: Iterable[Call]) -> list[Entry]:
        return [self._entry(book, call) for call in calls]

    def _entry(self, book: AccountBook, call: Call) -> Entry:
        service, endpoint, loop_type, loop, weight, tokens, priority = call
        check_count("weight", weight, 1)
        check_count("tokens", tokens, 0)
        account = book.of_call((service, endpoint, loop_type, loop), check_priority(priority))
        return self._teller.entry(account, weight, tokens)
