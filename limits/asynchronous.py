"""The limiters for asyncio. Each does what its namesake without `Async` does, and is documented there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from .account_book import AccountBook, Names, names_of
from .all_levels import AllLevels
from .asynchronous_desk import AsyncDesk
from .asynchronous_registry import AsyncLimitsRegistry
from .asynchronous_token import AsyncRateToken, async_token_of
from .asynchronous_view import AsyncLimitsView
from .batch import ACQUIRE_MANY, batches
from .config import LimitsConfig
from .decision import Decision
from .decorator import AsyncDecorator, context_of
from .errors import RateLimited
from .headers import parse_headers
from .limit import SECOND_US, Unit
from .limiter import OneScope
from .line import Timeout, seconds_of
from .link import AsyncClosing, AsyncLink
from .priority import Priority
from .regulator import OBSERVE, observing
from .server import UNREACHABLE
from .service_health import HEALTH, ServiceHealth, health_in, service_table
from .teller import DEFAULT_LEASE_S, PEEK
from .usage import Usage
from .view import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .all_levels import LimitsSource
    from .call import Call
    from .decorator import Context
    from .headers import Headers
    from .limit import Limit
    from .limit_options import LimitOptions
    from .lua import AsyncClient
    from .observation import Observation
    from .scope import TaskScopes


class AsyncLimiter(OneScope, AsyncClosing):
    """`Limiter` for asyncio."""

    def __init__(
        self,
        client: AsyncClient | str,
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
        self._link = AsyncLink(client)
        self._desk = AsyncDesk(self._link, self._teller)

    async def check_and_consume(self, n: int = 1, *, tokens: int = 0, now_us: int | None = None) -> Decision:
        """`Limiter.check_and_consume`."""
        reply = await self._desk.charge(self._consumption(n, tokens, now_us))
        decision = self._account.decision(reply)
        if not self._teller.admits(reply, n, tokens):
            raise RateLimited(decision)
        return decision

    async def try_consume(self, n: int = 1, *, tokens: int = 0, now_us: int | None = None) -> bool:
        """`Limiter.try_consume`."""
        reply = await self._desk.charge(self._consumption(n, tokens, now_us))
        return self._teller.admits(reply, n, tokens)

    async def acquire(
        self,
        n: int = 1,
        *,
        tokens: int = 0,
        timeout: Timeout = None,  # noqa: ASYNC109  the place is given up before it raises
        now_us: int | None = None,
    ) -> AsyncRateToken:
        """`Limiter.acquire`."""
        ask = self._acquisition(n, tokens, now_us, timeout)
        reply = await self._desk.charge(ask)
        if not self._teller.admits(reply, n, tokens):
            raise RateLimited(self._account.decision(reply))
        return async_token_of(ask, reply, self._link, self._desk)

    def limit(self, n: int = 1, *, tokens: int | Callable[..., int] = 0, timeout: Timeout = None) -> AsyncDecorator:
        """`Limiter.limit`."""
        seconds_of(timeout)

        async def acquire(*args: Any, **kwargs: Any) -> AsyncRateToken:
            cost = tokens(*args, **kwargs) if callable(tokens) else tokens
            return await self.acquire(n, tokens=cost, timeout=timeout)

        return AsyncDecorator(acquire)

    async def acquire_many(
        self, costs: Iterable[int | tuple[int, int]], *, now_us: int | None = None
    ) -> list[AsyncRateToken | Decision]:
        """`Limiter.acquire_many`."""
        token = partial(AsyncRateToken, self._link)
        answers: list[AsyncRateToken | Decision] = []
        for batch in batches(self._entries(costs)):
            reply: list[Any] = await self._link.run(ACQUIRE_MANY, *self._teller.charge_many(batch, now_us))
            answers += self._teller.answers(batch, reply, token)
        return answers

    async def peek(self, n: int = 1, *, tokens: int = 0, now_us: int | None = None) -> Decision:
        """`Limiter.peek`."""
        reply = await self._link.run(PEEK, *self._look(n, tokens, now_us))
        return self._account.forecast(reply, n, tokens)

    async def usage(self, *, now_us: int | None = None) -> Usage:
        """`Limiter.usage`."""
        return self._account.usage(await self._link.run(PEEK, *self._look(1, 1, now_us)))

    async def available_tokens(self, unit: Unit = Unit.REQUESTS, *, now_us: int | None = None) -> int:
        """`Limiter.available_tokens`."""
        return self._available(await self.usage(now_us=now_us), unit)

    async def reset_time(self, *, now_us: int | None = None) -> float:
        """`Limiter.reset_time`."""
        return max(usage.reset_after for usage in await self.usage(now_us=now_us))


class AsyncHierarchicalLimiter(AllLevels, AsyncClosing):
    """`HierarchicalLimiter` for asyncio."""

    def __init__(
        self,
        client: AsyncClient | str,
        limits: LimitsSource = None,
        *,
        realm: str = "default",
        lease_s: float = DEFAULT_LEASE_S,
        program: str = PROGRAM,
    ) -> None:
        super().__init__(realm, lease_s)
        given = None if limits is None else LimitsConfig.load(limits)
        self._link = AsyncLink(client)
        self._view = AsyncLimitsView(AsyncLimitsRegistry(self._link.client, self._keys), given, program=program)
        self._desk = AsyncDesk(self._link, self._teller)

    async def acquire(
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
        timeout: Timeout = None,  # noqa: ASYNC109  as above
        now_us: int | None = None,
    ) -> AsyncRateToken:
        """`HierarchicalLimiter.acquire`."""
        names = names_of(context, service, endpoint, loop_type, loop)
        token = await self._attempt(names, weight, tokens, priority, timeout=timeout, now_us=now_us)
        if isinstance(token, Decision):
            raise RateLimited(token)
        return token

    async def try_acquire(
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
    ) -> AsyncRateToken | None:
        """`HierarchicalLimiter.try_acquire`."""
        names = names_of(context, service, endpoint, loop_type, loop)
        token = await self._attempt(names, weight, tokens, priority, now_us=now_us)
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
    ) -> AsyncDecorator:
        """`HierarchicalLimiter.limit`."""
        seconds_of(timeout)
        names = {"service": service, "endpoint": endpoint, "loop_type": loop_type, "loop": loop}

        async def acquire(*args: Any, **kwargs: Any) -> AsyncRateToken:
            whose = context_of(context, names, args, kwargs)
            cost = tokens(*args, **kwargs) if callable(tokens) else tokens
            return await self.acquire(whose, weight=weight, tokens=cost, priority=priority, timeout=timeout)

        return AsyncDecorator(acquire)

    async def acquire_many(self, calls: Iterable[Call], *, now_us: int | None = None) -> list[AsyncRateToken | Decision]:
        """`HierarchicalLimiter.acquire_many`."""
        token = partial(AsyncRateToken, self._link)
        answers: list[AsyncRateToken | Decision] = []
        for batch in batches(self._entries(await self._current_book(), calls)):
            reply: Sequence[Any] = batch.uncharged
            if batch.is_asked:
                reply = await self._link.run(ACQUIRE_MANY, *self._teller.charge_many(batch, now_us))
            answers += self._teller.answers(batch, reply, token)
        return answers

    async def usage(self, scope: str, *, now_us: int | None = None) -> Usage:
        """`HierarchicalLimiter.usage`."""
        account = (await self._current_book()).of_scope(scope)
        if not account.limits:
            return Usage()
        return account.usage(await self._link.run(PEEK, *self._teller.look(account, 1, 1, now_us)))

    async def health(self, service: str, *, now_us: int | None = None) -> ServiceHealth:
        """`HierarchicalLimiter.health`."""
        table = service_table((await self._current_book()).config, service)
        at = "" if now_us is None else now_us
        return health_in(await self._link.run(HEALTH, self._teller.prefix, at, service), service, table)

    async def observe(
        self, service: str, headers: Headers, status: int | None = None, *, endpoint: str = "", now_us: int | None = None
    ) -> Observation:
        """`HierarchicalLimiter.observe`."""
        scope, rules = (await self._current_book()).of_call((service, endpoint, "", ""), Priority.CRITICAL).observed()
        observation = parse_headers(headers, status, now_s=None if now_us is None else now_us / SECOND_US)
        if values := observing(self._teller.prefix, scope, rules, observation, now_us):
            await self._link.run(OBSERVE, *values)
        return observation

    async def refresh(self) -> LimitsConfig:
        """`HierarchicalLimiter.refresh`."""
        try:
            return await self._view.refresh()
        except UNREACHABLE as error:
            raise self._link.unreachable(error) from error

    async def _attempt(
        self,
        names: Names,
        weight: int,
        tokens: int,
        priority: int,
        *,
        timeout: Timeout = None,  # noqa: ASYNC109  as above
        now_us: int | None,
    ) -> AsyncRateToken | Decision:
        known = self._view.known if self._desk.outage.is_on else None
        book = self._book_of(known) if known else await self._current_book()
        ask = self._ask(book, names, weight, tokens, priority, timeout=timeout, now_us=now_us)
        reply = await self._desk.charge(ask)
        if not self._teller.admits(reply, weight, tokens):
            return ask.account.decision(reply)
        return async_token_of(ask, reply, self._link, self._desk)

    async def _current_book(self) -> AccountBook:
        try:
            config = await self._view.config()
        except UNREACHABLE as error:
            raise self._link.unreachable(error) from error
        return self._book_of(config)
