"""A wire sends calls to the real scripts, at times that a test chooses, many in one round trip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, groupby
from typing import Any, NamedTuple, cast

from redis import Redis

from turgor.limits import LimitsConfig
from turgor.limits.account import Account
from turgor.limits.account_book import AccountBook
from turgor.limits.batch import ACQUIRE_MANY, Batch, Entry, batches
from turgor.limits.keys import Keys
from turgor.limits.lua import Script
from turgor.limits.rate_token import SETTLE
from turgor.limits.teller import ACQUIRE, Teller

from .traffic import Request

SECOND_US = 1_000_000
LEASE_US = 2 * SECOND_US


class Answer(NamedTuple):
    """What the script said to one call."""

    request: Request
    holder: str
    account: Account
    allowed: bool
    binding: str


class Wire:
    """The limits of some tables, in a realm.

    Parameters
    ----------
    in_batches:
        Send the calls of one moment together, through acquire_many.lua.
    """

    def __init__(self, client: Redis, realm: str, tables: Mapping[str, Any], *, in_batches: bool = False) -> None:
        self.client, self.prefix = client, Keys(realm).prefix
        self._teller = Teller(realm, LEASE_US / SECOND_US)
        self._book = AccountBook(LimitsConfig.load(tables))
        self._in_batches = in_batches
        self._holders = count()
        for script in (ACQUIRE, ACQUIRE_MANY, SETTLE):
            client.script_load(script.source)

    def ask(self, requests: Iterable[Request]) -> list[Answer]:
        """Each request in its turn, in one pipeline."""
        asked = [(request, str(next(self._holders)), self._account(request)) for request in requests]
        replies = self._batched(asked) if self._in_batches else self._one_by_one(asked)
        return [Answer(*each, bool(reply[0]), _name(each[2], reply[1])) for each, reply in zip(asked, replies, strict=True)]

    def settle(self, answer: Answer, actual_tokens: int, *, at_us: int) -> tuple[Any, ...]:
        """What ends a call that was admitted: for `run`."""
        request, account = answer.request, answer.account
        difference = actual_tokens - request.tokens if account.has_tokens else 0
        correction = f"c{answer.holder}"
        charged = (request.at_us, answer.holder, difference, account.opens)
        return (self.prefix, at_us, correction, *charged, *account.settled_rules)

    def run(self, script: Script, calls: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
        with self.client.pipeline(transaction=False) as pipe:
            for values in calls:
                pipe.evalsha(script.sha, 1, *values)
            return cast("list[list[Any]]", pipe.execute())

    def _account(self, request: Request) -> Account:
        return self._book.of_call((request.service, request.endpoint, request.loop_type, request.loop))

    def _one_by_one(self, asked: Sequence[tuple[Request, str, Account]]) -> Iterator[list[int]]:
        calls = [
            self._teller.charge(account, request.weight, request.tokens, holder, request.at_us)
            for request, holder, account in asked
        ]
        yield from self.run(ACQUIRE, calls)

    def _batched(self, asked: Sequence[tuple[Request, str, Account]]) -> Iterator[list[int]]:
        sent: list[tuple[Batch, tuple[Any, ...]]] = []
        for at_us, moment in groupby(asked, key=lambda each: each[0].at_us):
            entries = [Entry(account, request.weight, request.tokens, holder) for request, holder, account in moment]
            sent += ((batch, batch.values(self.prefix, LEASE_US, at_us)) for batch in batches(entries))
        for (batch, _), reply in zip(sent, self.run(ACQUIRE_MANY, [values for _, values in sent]), strict=True):
            yield from (said for _, said in batch.decisions(reply))


def _name(account: Account, position: int) -> str:
    return "" if not position else " ".join((account.limits[position - 1][0], account.limits[position - 1][1].id))
