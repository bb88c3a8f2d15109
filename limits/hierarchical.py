"""A hierarchical limiter keeps all limits that concern a call, at every level: all are charged, or none.

    limiter = HierarchicalLimiter("redis://localhost", "limits.toml")
    with limiter.acquire(service="llm_api", endpoint="chat", loop="planner-7", tokens=1_200) as token:
        reply = client.complete(prompt)
        token.settle(reply.usage.total_tokens)

It keeps the same limits as the tasks of `Turgor(app)` in the same realm, and spends the same budgets.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .account_book import AccountBook, Names, names_of
from .all_levels import AllLevels
from .batch import ACQUIRE_MANY, batches
from .config import LimitsConfig
from .decision import Decision
from .decorator import Decorator, context_of
from .desk import Desk
from .errors import RateLimited
from .headers import parse_headers
from .limit import SECOND_US
from .line import Timeout, seconds_of
from .link import Closing, Link
from .priority import Priority
from .rate_token import RateToken
from .registry import LimitsRegistry
from .regulator import OBSERVE, observing
from .server import UNREACHABLE
from .service_health import HEALTH, ServiceHealth, health_in, service_table
from .stand_in_token import token_of
from .teller import DEFAULT_LEASE_S, PEEK
from .usage import Usage
from .view import PROGRAM, LimitsView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .all_levels import LimitsSource
    from .call import Call
    from .decorator import Context
    from .headers import Headers
    from .lua import Client
    from .observation import Observation
    from .scope import TaskScopes


class HierarchicalLimiter(AllLevels, Closing):
    """All limits that concern a call, at every level.

    Parameters
    ----------
    client:
        A redis-py client, or the URL of a server.
    limits:
        A path to a TOML file, a dict, or a `LimitsConfig`; put in force for the whole realm on first use, if
        they are new to it. Nothing: what Redis holds. A change of what is in force is followed within a second.
    realm:
        The name of the set of limits.
    program:
        Names what brings `limits`, where several programs bring theirs to one realm.
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
    clock decides. Every method that asks the server raises `ServerUnreachable` when nobody answers; a call of a
    service whose `on_unreachable` is `open` or `local` is decided without it. Threads may share a limiter. As a
    context manager it closes its connections.
    """

    def __init__(
        self,
        client: Client | str,
        limits: LimitsSource = None,
        *,
        realm: str = "default",
        lease_s: float = DEFAULT_LEASE_S,
        program: str = PROGRAM,
    ) -> None:
        super().__init__(realm, lease_s)
        given = None if limits is None else LimitsConfig.load(limits)
        self._link = Link(client)
        self._view = LimitsView(LimitsRegistry(self._link.client, self._keys), given, program=program)
        self._desk = Desk(self._link, self._teller)

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
        priority: int = Priority.NORMAL,
        timeout: Timeout = None,
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
        priority:
            0 to 9: what limits keep in `reserve` for higher ones is not for it.
        timeout:
            How long it waits: seconds, a `timedelta`, `math.inf` for ever; None and 0: not at all. Calls that are
            limited at the same scopes are served in the order of arrival, and one that does not wait is refused
            while others do.

        Raises
        ------
        RateLimited
            A limit refused, and nothing is charged at any level. `decision` names the one that opens last. With a
            timeout: at its end, or at once when that limit surely opens later.
        UnknownService
            The limits do not name the service.
        CostTooLarge
            A limit never holds as many units.
        InvalidScope, ValueError, TypeError
            A name, a number or the context is not possible.
        """
        names = names_of(context, service, endpoint, loop_type, loop)
        token = self._attempt(names, weight, tokens, priority, timeout=timeout, now_us=now_us)
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
        priority: int = Priority.NORMAL,
        now_us: int | None = None,
    ) -> RateToken | None:
        """`acquire` that answers None where that raises `RateLimited`."""
        names = names_of(context, service, endpoint, loop_type, loop)
        token = self._attempt(names, weight, tokens, priority, now_us=now_us)
        return None if isinstance(token, Decision) else token

    def limit(
        self,
        context: Context | Callable[..., Context] = None,
        *,
        service: str = "",
        endpoint: str = "",
        loop_type: str = "",
        loop: str = "",
        weight: int = 1,
        tokens: int | Callable[..., int] = 0,
        priority: int = Priority.NORMAL,
        timeout: Timeout = None,
    ) -> Decorator:
        """A decorator: each call of the function is an `acquire`, and its slots are free when the function returns.

            @limiter.limit(lambda prompt, tenant: {"service": "llm_api", "loop": tenant}, timeout=30)
            def complete(prompt: str, tenant: str) -> str: ...

        Parameters
        ----------
        context, tokens:
            As `acquire` takes them, or functions of the call's arguments that give them.
        service, endpoint, loop_type, loop, weight, priority, timeout:
            As `acquire` takes them.
        """
        seconds_of(timeout)
        names = {"service": service, "endpoint": endpoint, "loop_type": loop_type, "loop": loop}

        def acquire(*args: Any, **kwargs: Any) -> RateToken:
            whose = context_of(context, names, args, kwargs)
            cost = tokens(*args, **kwargs) if callable(tokens) else tokens
            return self.acquire(whose, weight=weight, tokens=cost, priority=priority, timeout=timeout)

        return Decorator(acquire)

    def acquire_many(self, calls: Iterable[Call], *, now_us: int | None = None) -> list[RateToken | Decision]:
        """Decide many calls, in their order, in one round trip for each hundred, or fewer if they have many limits.

            for answer in limiter.acquire_many([Call("llm_api", loop=loop) for loop in loops]):
                if isinstance(answer, RateToken): ...

        Each call charges every limit of its own, or none, as if `acquire` had been called for one after the other.

        A batch never waits: it may pass calls that wait in line for the same limits.

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
        scope, rules = self._current_book().of_call((service, endpoint, "", ""), Priority.CRITICAL).observed()
        observation = parse_headers(headers, status, now_s=None if now_us is None else now_us / SECOND_US)
        if values := observing(self._teller.prefix, scope, rules, observation, now_us):
            self._link.run(OBSERVE, *values)
        return observation

    def refresh(self) -> LimitsConfig:
        """Follow a change of the limits at once, and return what is in force."""
        try:
            return self._view.refresh()
        except UNREACHABLE as error:
            raise self._link.unreachable(error) from error

    def _attempt(
        self, names: Names, weight: int, tokens: int, priority: int, *, timeout: Timeout = None, now_us: int | None
    ) -> RateToken | Decision:
        # While the server is away nobody waits to hear of a change of the limits.
        known = self._view.known if self._desk.outage.is_on else None
        book = self._book_of(known) if known else self._current_book()
        ask = self._ask(book, names, weight, tokens, priority, timeout=timeout, now_us=now_us)
        reply = self._desk.charge(ask)
        if not self._teller.admits(reply, weight, tokens):
            return ask.account.decision(reply)
        return token_of(ask, reply, self._link, self._desk)

    def _current_book(self) -> AccountBook:
        try:
            config = self._view.config()
        except UNREACHABLE as error:
            raise self._link.unreachable(error) from error
        return self._book_of(config)
