"""The tokens of the limiters for asyncio. Each does what its namesake without `Async` does, and is documented there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from .account import check_count
from .errors import ServerUnreachable
from .headers import parse_headers
from .limit import SECOND_US
from .outcome import Outcome
from .rate_token import REPORT, SETTLE, Charge, log
from .regulator import CLOSE, OBSERVE
from .stand_in import StandInReply

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from types import TracebackType

    from .account import Account
    from .asynchronous_desk import AsyncDesk
    from .desk import Ask
    from .headers import Headers
    from .link import AsyncLink
    from .observation import Observation


class AsyncRateToken(Charge):
    """`RateToken` for asyncio: an async context manager."""

    def __init__(self, link: AsyncLink, prefix: str, account: Account, reply: Sequence[Any], *, holder: str, tokens: int) -> None:
        super().__init__(prefix, account, reply, holder=holder, tokens=tokens)
        self._link = link

    async def settle(self, actual_tokens: int, *, now_us: int | None = None) -> None:
        """`RateToken.settle`."""
        await self._correct(check_count("actual_tokens", actual_tokens, 0), ends=False, now_us=now_us)
        self._is_settled = True

    async def ok(self, *, now_us: int | None = None) -> None:
        """`RateToken.ok`."""
        await self._end(Outcome.OK, self._tokens, now_us)

    async def failed(self, *, now_us: int | None = None) -> None:
        """`RateToken.failed`."""
        await self._end(Outcome.FAILED, self._unspent(), now_us)

    async def throttled(self, retry_after: float | timedelta | None = None, *, now_us: int | None = None) -> None:
        """`RateToken.throttled`."""
        values = self._closing(retry_after, now_us)
        if values and self._outcome is Outcome.OPEN:
            await self._link.run(CLOSE, *values)
        await self._end(Outcome.THROTTLED, self._unspent(), now_us)

    async def observe(self, headers: Headers, status: int | None = None, *, now_us: int | None = None) -> Observation:
        """`RateToken.observe`."""
        observation = parse_headers(headers, status, now_s=None if now_us is None else now_us / SECOND_US)
        if values := self._observing(observation, now_us):
            await self._link.run(OBSERVE, *values)
        if observation.is_throttled:
            await self._end(Outcome.THROTTLED, self._unspent(), now_us)
        return observation

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._end(Outcome.OK if error is None else Outcome.FAILED, self._tokens, None)
        except ServerUnreachable as unreachable:
            # The work is done, and its result must not be lost for a slot that lapses with its lease.
            log.warning("a slot is not freed and lapses with its lease: %s", unreachable)

    async def _end(self, outcome: Outcome, tokens: int, now_us: int | None) -> None:
        if self._outcome is Outcome.OPEN:
            await self._correct(tokens, ends=True, now_us=now_us)
            if values := self._report(outcome, now_us):
                await self._link.run(REPORT, *values)
            self._outcome = outcome

    async def _correct(self, tokens: int, *, ends: bool, now_us: int | None) -> None:
        if values := self._settlement(tokens, ends=ends, now_us=now_us):
            await self._link.run(SETTLE, *values)
        self._note(tokens, ends=ends)


class AsyncStandInToken(AsyncRateToken):
    """`StandInToken` for asyncio."""

    def __init__(self, ask: Ask, reply: StandInReply, link: AsyncLink, desk: AsyncDesk) -> None:
        super().__init__(link, desk.prefix, ask.account, reply, holder=ask.holder, tokens=ask.tokens)
        self._stand_in = desk.stand_in

    async def _correct(self, tokens: int, *, ends: bool, now_us: int | None) -> None:  # noqa: ARG002  no time passes in here
        if ends:
            self._stand_in.free(self._account, self._holder)
        self._note(tokens, ends=ends)


def async_token_of(ask: Ask, reply: Sequence[Any], link: AsyncLink, desk: AsyncDesk) -> AsyncRateToken:
    if isinstance(reply, StandInReply):
        return AsyncStandInToken(ask, reply, link, desk)
    return AsyncRateToken(link, desk.prefix, ask.account, reply, holder=ask.holder, tokens=ask.tokens)
