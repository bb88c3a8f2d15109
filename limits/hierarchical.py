"""A hierarchical limiter keeps all limits that concern a call, at every level: all are charged, or none.

    limiter = HierarchicalLimiter("redis://localhost", "limits.toml")
    with limiter.acquire(service="llm_api", endpoint="chat", loop="planner-7", tokens=1_200) as token:
        reply = client.complete(prompt)
        token.settle(reply.usage.total_tokens)

It keeps the same limits as the tasks of `Turgor(app)` in the same realm, and spends the same budgets.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from .account import check_count
from .account_book import AccountBook, Names, names_of
from .batch import ACQUIRE_MANY, batches
from .config import LimitsConfig
from .decision import Decision
from .errors import RateLimited
from .headers import parse_headers
from .keys import Keys
from .limit import SECOND_US
from .link import Link
from .rate_token import RateToken
from .registry import LimitsRegistry
from .regulator import OBSERVE, observing
from .server import UNREACHABLE, unreachable, url_of
from .service_health import HEALTH, ServiceHealth, health_in, service_table
from .teller import ACQUIRE, DEFAULT_LEASE_S, PEEK, UNCHARGED, Teller, Values
from .usage import Usage
from .view import LimitsView

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from os import PathLike

    from .account import Account
    from .batch import Entry
    from .call import Call
    from .headers import Headers
    from .lua import Client
    from .observation import Observation
    from .scope import TaskScopes
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

    def _charge(self, account: Account, weight: int, tokens: int, holder: str, now_us: int | None) -> Values:
        check_count("weight", weight, 1)
        check_count("tokens", tokens, 0)
        return self._teller.charge(account, weight, tokens, holder, now_us)

    def _entries(self, book: AccountBook, calls: Iterable[Call]) -> list[Entry]:
        return [self._entry(book, call) for call in calls]

    def _entry(self, book: AccountBook, call: Call) -> Entry:
        service, endpoint, loop_type, loop, weight, tokens = call
        check_count("weight", weight, 1)
        check_count("tokens", tokens, 0)
        return self._teller.entry(book.of_call((service, endpoint, loop_type, loop)), weight, tokens)


class HierarchicalLimiter(AllLevels):
    """All limits that concern a call, at every level.

    Parameters
    ----------
    client:
        A redis-py client, or the URL of a server.
    limits:
        A path to a TOML file, a dict, or a `LimitsConfig`; published for the whole realm on first use.
        Nothing: what Redis holds. A change of what is in force is followed within a second.
    realm:
        The name of the set of limits.
    lease_s:
        Seconds until a slot of `max_in_flight` lapses whose holder was never heard of again: longer than
        the longest call.

    Raises
    ------
    ConfigError
        The limits are not valid. One line per mistake.
    InvalidScope
        The realm's name is not possible.

    Every method that charges or looks takes `now_us`, which only tests and the simulator pass: the server's
    clock decides. Every method that asks the server raises `ServerUnreachable` when nobody answers. Threads may
    share a limiter.
    """

    def __init__(
        self, client: Client | str, limits: LimitsSource = None, *, realm: str = "default", lease_s: float = DEFAULT_LEASE_S
    ) -> None:
        super().__init__(realm, lease_s)
        given = None if limits is None else LimitsConfig.load(limits)
        self._link = Link(client)
        self._view = LimitsView(LimitsRegistry(self._link.client, self._keys), given)

    def acquire(
        self,
        context: TaskScopes | Mapping[str, str] | None = None,
        *,
        service: str = "",
        endpoint: str = "",
        loop_type: str = "",
        loop: str = "",
        weight: int = 1,
        tokens: int = 0,
        now_us: int | None = None,
    ) -> RateToken:
        """Charge every limit of the call, or none, in one round trip.

        Parameters
        ----------
        context:
            Whose call it is: a `TaskScopes`, or a mapping with the keys of the next line.
        service, endpoint, loop_type, loop:
            The same, name by name.
        weight:
            Units for limits that count requests.
        tokens:
            An estimate, for limits that count tokens; `RateToken.settle` corrects it.

        Raises
        ------
        RateLimited
            A limit refused, and nothing is charged at any level. `decision` names the one that opens last.
        UnknownService
            The limits do not name the service.
        CostTooLarge
            A limit never holds as many units.
        InvalidScope, ValueError, TypeError
            A name, a number or the context is not possible.
        """
        names = names_of(context, service, endpoint, loop_type, loop)
        token = self._attempt(names, weight, tokens, now_us)
        if isinstance(token, Decision):
            raise RateLimited(token)
        return token

    def try_acquire(
        self,
        context: TaskScopes | Mapping[str, str] | None = None,
        *,
        service: str = "",
        endpoint: str = "",
        loop_type: str = "",
        loop: str = "",
        weight: int = 1,
        tokens: int = 0,
        now_us: int | None = None,
    ) -> RateToken | None:
        """`acquire` that answers None where that raises `RateLimited`."""
        names = names_of(context, service, endpoint, loop_type, loop)
        token = self._attempt(names, weight, tokens, now_us)
        return None if isinstance(token, Decision) else token

    def acquire_many(self, calls: Iterable[Call], *, now_us: int | None = None) -> list[RateToken | Decision]:
        """Decide many calls, in their order, in one round trip for each hundred, or fewer if they have many limits.

            for answer in limiter.acquire_many([Call("llm_api", loop=loop) for loop in loops]):
                if isinstance(answer, RateToken): ...

        Each call charges every limit of its own, or none, as if `acquire` had been called for one after the other.

        Returns
        -------
        For each call its token, or the decision that refused it.

        Raises
        ------
        UnknownService, CostTooLarge, InvalidScope, ValueError, TypeError
            As `acquire` does; nothing is charged for any of the calls.
        ServerUnreachable
            Nobody answers. What was charged before stays charged.
        """
        token = partial(RateToken, self._link)
        answers: list[RateToken | Decision] = []
        for batch in batches(self._entries(self._current_book(), calls)):
            reply: Sequence[Any] = batch.uncharged
            if batch.is_asked:
                reply = self._link.run(ACQUIRE_MANY, *self._teller.charge_many(batch, now_us))
            answers += self._teller.answers(batch, reply, token)
        return answers

    def usage(self, scope: str, *, now_us: int | None = None) -> Usage:
        """How full each limit of a scope is; the scope by its name, such as `global` or `service:llm_api`.

        Raises
        ------
        UnknownService, InvalidScope
            There is no such service, or no such kind of scope.
        """
        account = self._current_book().of_scope(scope)
        if not account.limits:
            return Usage()
        return account.usage(self._link.run(PEEK, *self._teller.look(account, 1, 1, now_us)))

    def health(self, service: str, *, now_us: int | None = None) -> ServiceHealth:
        """How a service does, as its breaker and its adaptive share see it.

        Raises
        ------
        UnknownService
            The limits do not name the service.
        """
        table = service_table(self._current_book().config, service)
        at = "" if now_us is None else now_us
        return health_in(self._link.run(HEALTH, self._teller.prefix, at, service), service, table)

    def observe(
        self, service: str, headers: Headers, status: int | None = None, *, endpoint: str = "", now_us: int | None = None
    ) -> Observation:
        """Take in what a response says of its service's limits, for every process of the realm.

        It only ever tightens. Where the service has less left than our limits in the same unit, no more is
        admitted until its reset. A response that refused a call for its rate (429) closes the scope for as long
        as it asks for, once, however many calls are refused meanwhile. Odd headers are ignored.

        Parameters
        ----------
        service, endpoint:
            Who was called. The endpoint's own limits are meant, if it has any; or else the service's.
        headers, status:
            Of the response: a mapping, or pairs; and its status code.

        Returns
        -------
        Observation
            What the headers were understood to say.

        Raises
        ------
        UnknownService, InvalidScope
            The limits do not name the service, or a name is not possible.
        """
        scope, rules = self._current_book().of_call((service, endpoint, "", "")).observed()
        observation = parse_headers(headers, status, now_s=None if now_us is None else now_us / SECOND_US)
        if values := observing(self._teller.prefix, scope, rules, observation, now_us):
            self._link.run(OBSERVE, *values)
        return observation

    def refresh(self) -> LimitsConfig:
        """Follow a change of the limits at once, and return what is in force."""
        try:
            return self._view.refresh()
        except UNREACHABLE as error:
            raise unreachable(url_of(self._link.client), error) from error

    def close(self) -> None:
        """Close the connections, if the limiter was given a URL. A client stays open: it is the caller's."""
        self._link.close()

    def _attempt(self, names: Names, weight: int, tokens: int, now_us: int | None) -> RateToken | Decision:
        account = self._current_book().of_call(names)
        holder = self._teller.holder(account)
        values = self._charge(account, weight, tokens, holder, now_us)
        reply: Sequence[Any] = self._link.run(ACQUIRE, *values) if account.is_asked else UNCHARGED
        if not self._teller.admits(reply, weight, tokens):
            return account.decision(reply)
        return RateToken(self._link, self._teller.prefix, account, reply, holder=holder, tokens=tokens)

    def _current_book(self) -> AccountBook:
        try:
            config = self._view.config()
        except UNREACHABLE as error:
            raise unreachable(url_of(self._link.client), error) from error
        return self._book_of(config)
