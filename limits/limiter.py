"""A limiter keeps the limits of one scope, wherever its name is used.

    limiter = Limiter("redis://localhost", "github", requests_per_minute=60, burst_capacity=10)
    limiter.check_and_consume()                    # or RateLimited, which knows when to come back

Every process that makes a limiter of this name, in this realm, spends the same budget. The name of a scope,
such as `service:llm_api`, spends the budget that Celery tasks of that scope spend.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from .account import Account, check_count
from .batch import ACQUIRE_MANY, batches
from .decorator import Decorator
from .desk import Ask, Desk
from .errors import RateLimited
from .limit import Unit
from .limit_options import LimitOptions, stated_limits, stated_policy
from .line import Timeout, seconds_of
from .link import Closing, Link
from .rate_token import RateToken
from .scope import check_name
from .stand_in_token import token_of
from .teller import DEFAULT_LEASE_S, PEEK, Teller, Values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .batch import Entry
    from .decision import Decision
    from .limit import Limit
    from .lua import Client
    from .tally import LimiterStatistics
    from .usage import Usage


class OneScope:
    """What `Limiter` and `AsyncLimiter` share: the limits of one scope, and what is sent and made of the answer.

    Parameters
    ----------
    name:
        Names the budget: up to 200 printable characters.
    limits, options:
        The limits, in one of two ways: a tuple of `Limit`, or the words of `limits.toml`.
    realm:
        The set of limits that the name belongs to.
    lease_s:
        Seconds until a slot of `max_in_flight` lapses whose holder was never heard of again.
    on_unreachable, local_share:
        What becomes of a call while Redis is away, as `ServiceTable` words it.
    """

    def __init__(
        self,
        name: str,
        limits: Iterable[Limit],
        realm: str,
        lease_s: float,
        options: LimitOptions,
        *,
        on_unreachable: str,
        local_share: float | None,
    ) -> None:
        check_name("limiter", name)
        self._policy = stated_policy(on_unreachable, local_share)
        self.name = name
        self.limits = stated_limits(limits, options)
        self._account = Account(((name, limit) for limit in self.limits), called=name)
        self._teller = Teller(realm, lease_s)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {', '.join(map(str, self.limits))}>"

    def statistics(self) -> LimiterStatistics:
        """What this limiter has said so far."""
        return self._teller.statistics()

    def _consumption(self, n: int, tokens: int, now_us: int | None) -> Ask:
        if self._account.has_slots:
            raise TypeError(f"limiter {self.name!r} has max_in_flight, and only a token can free a slot: use acquire()")
        return self._acquisition(n, tokens, now_us, None)

    def _acquisition(self, n: int, tokens: int, now_us: int | None, timeout: Timeout) -> Ask:
        check_count("n", n, 1)
        check_count("tokens", tokens, 0)
        timeout_s = 0.0 if timeout is None else seconds_of(timeout, now_us)
        return Ask(self._account, n, tokens, self._teller.holder(self._account), now_us, timeout_s, self._policy)

    def _entries(self, costs: Iterable[int | tuple[int, int]]) -> list[Entry]:
        return [self._entry(*((cost, 0) if isinstance(cost, int) else cost)) for cost in costs]

    def _entry(self, n: int, tokens: int) -> Entry:
        check_count("n", n, 1)
        check_count("tokens", tokens, 0)
        return self._teller.entry(self._account, n, tokens)

    def _look(self, n: int, tokens: int, now_us: int | None) -> Values:
        check_count("n", n, 1)
        check_count("tokens", tokens, 0)
        self._account.check_cost(n, tokens)
        return self._teller.look(self._account, n, tokens, now_us)

    def _available(self, usages: Usage, unit: Unit) -> int:
        left = [usage.remaining for usage in usages if usage.limit.unit is unit]
        if not left:
            raise ValueError(f"unit: limiter {self.name!r} counts no {unit}, only {', '.join(map(str, self.limits))}")
        return min(left)


class Limiter(OneScope, Closing):
    """The limits of one scope.

    Parameters
    ----------
    client:
        A redis-py client, or the URL of a server.
    name:
        Names the budget: every limiter of this name and realm spends it.
    limits:
        The limits as objects, where keywords do not say them.
    realm:
        The set of limits that the name belongs to.
    lease_s:
        Seconds until a slot of `max_in_flight` lapses whose holder was never heard of again.
    options:
        The limits in the words of `limits.toml`: `requests_per_minute=60, burst_capacity=10`,
        `windows=[{"limit": 5, "per": "10s"}]`, `max_in_flight=8`, `token_limits={"per_minute": 100_000}`.
    on_unreachable:
        What becomes of a call while Redis is away: `"closed"`, it raises `ServerUnreachable`; `"open"`, it passes;
        `"local"`, the process keeps a share of each limit by itself. `Decision.source` tells who decided.
    local_share:
        The share of each limit that the process keeps, above 0 and at most 1; 0.1 if it is not given.

    Raises
    ------
    ConfigError
        The limits are not valid. One line per mistake.
    InvalidScope
        The name or the realm's name is not possible.

    Every method takes `now_us`, which only tests and the simulator pass: the server's clock decides. Every
    method that asks the server raises `ServerUnreachable` when nobody answers. Threads may share a limiter. As a
    context manager it closes its connections.
    """

    def __init__(
        self,
        client: Client | str,
        name: str,
        limits: Iterable[Limit] = (),
        *,
        realm: str = "default",
        lease_s: float = DEFAULT_LEASE_S,
        on_unreachable: str = "closed",
        local_share: float | None = None,
        **options: Unpack[LimitOptions],
    ) -> None:
        super().__init__(name, limits, realm, lease_s, options, on_unreachable=on_unreachable, local_share=local_share)
        self._link = Link(client)
        self._desk = Desk(self._link, self._teller)

    def check_and_consume(self, n: int = 1, *, tokens: int = 0, now_us: int | None = None) -> Decision:
        """Charge `n` units to the limits that count requests and `tokens` to those that count tokens, or nothing.

        Raises
        ------
        RateLimited
            A limit refused, and nothing is charged. `decision.retry_after` says when to come back.
        CostTooLarge
            A limit never holds as many units.
        ValueError
            `n` is not a whole number of at least 1, or `tokens` not one of at least 0.
        TypeError
            The limiter has `max_in_flight`: use `acquire`, whose token frees the slot.
        """
        reply = self._desk.charge(self._consumption(n, tokens, now_us))
        decision = self._account.decision(reply)
        if not self._teller.admits(reply, n, tokens):
            raise RateLimited(decision)
        return decision

    def try_consume(self, n: int = 1, *, tokens: int = 0, now_us: int | None = None) -> bool:
        """`check_and_consume` that answers False where that raises `RateLimited`."""
        reply = self._desk.charge(self._consumption(n, tokens, now_us))
        return self._teller.admits(reply, n, tokens)

    def acquire(self, n: int = 1, *, tokens: int = 0, timeout: Timeout = None, now_us: int | None = None) -> RateToken:
        """`check_and_consume` that also takes a slot, and gives a token that frees it and settles the tokens.

        Parameters
        ----------
        timeout:
            How long it waits, in the order of arrival: seconds, a `timedelta`, `math.inf` for ever. None and 0: not
            at all. Raises `RateLimited` at the deadline, or at once when the limit surely opens later.
        """
        ask = self._acquisition(n, tokens, now_us, timeout)
        reply = self._desk.charge(ask)
        if not self._teller.admits(reply, n, tokens):
            raise RateLimited(self._account.decision(reply))
        return token_of(ask, reply, self._link, self._desk)

    def limit(self, n: int = 1, *, tokens: int | Callable[..., int] = 0, timeout: Timeout = None) -> Decorator:
        """A decorator: each call of the function is an `acquire`, and its slot is free when the function returns.

        Parameters
        ----------
        tokens:
            A number, or a function of the call's arguments.
        """
        seconds_of(timeout)

        def acquire(*args: Any, **kwargs: Any) -> RateToken:
            return self.acquire(n, tokens=tokens(*args, **kwargs) if callable(tokens) else tokens, timeout=timeout)

        return Decorator(acquire)

    def acquire_many(self, costs: Iterable[int | tuple[int, int]], *, now_us: int | None = None) -> list[RateToken | Decision]:
        """Decide many calls, in their order, in one round trip for each hundred, or fewer if they have many limits.

            answers = limiter.acquire_many([1] * 100)
            admitted = [token for token in answers if isinstance(token, RateToken)]

        Parameters
        ----------
        costs:
            What each call costs: `n`, or `(n, tokens)`.

        Returns
        -------
        For each call its token, or the decision that refused it.

        Raises
        ------
        CostTooLarge, ValueError
            As `acquire` does; nothing is charged for any of the calls.
        ServerUnreachable
            Nobody answers. What was charged before stays charged.
        """
        token = partial(RateToken, self._link)
        answers: list[RateToken | Decision] = []
        for batch in batches(self._entries(costs)):
            reply: list[Any] = self._link.run(ACQUIRE_MANY, *self._teller.charge_many(batch, now_us))
            answers += self._teller.answers(batch, reply, token)
        return answers

    def peek(self, n: int = 1, *, tokens: int = 0, now_us: int | None = None) -> Decision:
        """What `check_and_consume` would decide. Charges nothing; `remaining` is before the charge."""
        reply = self._link.run(PEEK, *self._look(n, tokens, now_us))
        return self._account.forecast(reply, n, tokens)

    def usage(self, *, now_us: int | None = None) -> Usage:
        """How full each limit is."""
        return self._account.usage(self._link.run(PEEK, *self._look(1, 1, now_us)))

    def available_tokens(self, unit: Unit = Unit.REQUESTS, *, now_us: int | None = None) -> int:
        """How many calls of one unit would be admitted now.

        Where several limits count the unit, the one with the least left says.

        Raises
        ------
        ValueError
            No limit counts this unit.
        """
        return self._available(self.usage(now_us=now_us), unit)

    def reset_time(self, *, now_us: int | None = None) -> float:
        """Seconds until every bucket is full and every window empty again, if nobody consumes; 0.0 when they are.

        Slots in flight do not count: they come back when the work ends.
        """
        return max(usage.reset_after for usage in self.usage(now_us=now_us))
