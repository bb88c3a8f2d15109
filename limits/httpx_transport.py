"""Transports for httpx that ask a limiter before each request, and tell it what the response says.

    limiter = HierarchicalLimiter("redis://localhost", "limits.toml")
    client = httpx.Client(transport=TurgorTransport(limiter, service="llm_api", timeout=30, tokens_of=openai_tokens))
    client.post(url, json=prompt, extensions={"turgor": {"loop": "planner-7", "tokens": 1_200}})

    before the request      `acquire`; a refusal raises `RateLimited`, at once or after `timeout` seconds
    when the headers come   `observe`: a 429 closes the service for everybody; the call is `throttled` and over
    when the body is closed its tokens are settled, its slots are free: `ok`, or `failed` after a 5xx
    a broken connection     `failed`

Tokens come back only for a call that surely never reached its service. A body is never read ahead: `tokens_of` is
asked for what the caller has read to its end, and a stream that is left half-read keeps its estimate. A response that
is neither read nor closed keeps its slots until its lease lapses. Each redirect is a call of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

try:
    import httpx
except ModuleNotFoundError as error:  # pragma: no cover - a test imports this without httpx, in a process of its own
    raise ImportError("turgor.limits.httpx_transport needs httpx: pip install 'turgor[httpx]'") from error

from .asynchronous import AsyncHierarchicalLimiter
from .asynchronous_token import AsyncRateToken
from .errors import TurgorError
from .hierarchical import HierarchicalLimiter
from .http_call import CallNaming, Text, is_failure, log, tokens_in
from .rate_token import RateToken
from .refusal import mark_response

TokensOf = Callable[[httpx.Response], int | None]

UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.LocalProtocolError)
# A longer body is not kept to be asked for its usage.
MAX_BODY = 8 * 1024 * 1024


class _Hook:
    """What both transports share; see `TurgorTransport` for the parameters."""

    def __init__(self, naming: CallNaming[httpx.Request], tokens_of: TokensOf | None) -> None:
        self._naming, self._tokens_of = naming, tokens_of

    def _call_of(self, request: httpx.Request) -> dict[str, Any] | None:
        return self._naming.call_of(request, request.extensions.get("turgor"))

    def _copy_for(self, response: httpx.Response) -> BodyCopy:
        return BodyCopy(response, MAX_BODY if self._tokens_of else 0)

    def _tokens(self, response: httpx.Response | None) -> int | None:
        """What the call cost, as its body says; None where that is not known."""
        return None if response is None or self._tokens_of is None else tokens_in(response, self._tokens_of)


class BodyCopy:
    """The body of a response, copied while the caller reads it.

    Parameters
    ----------
    response:
        Whose body it is.
    limit:
        Bytes; of a longer body nothing is kept.
    """

    def __init__(self, response: httpx.Response, limit: int) -> None:
        self._response, self._limit = response, limit
        self._chunks: list[bytes] = []
        self._size = 0
        self._is_whole = False

    def add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= self._limit:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()

    def end(self) -> None:
        self._is_whole = True

    def read(self) -> httpx.Response | None:
        """The response with its body; None where that was not read to its end, or is not kept."""
        if not self._is_whole or self._size > self._limit:
            return None
        kept, body = self._response, httpx.ByteStream(b"".join(self._chunks))
        copy = httpx.Response(kept.status_code, headers=kept.headers, stream=body, extensions=kept.extensions)
        try:
            copy.read()
        except httpx.DecodingError:
            # The caller has been told of it.
            return None
        return copy


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, copy: BodyCopy, finish: Callable[[httpx.Response | None], None]) -> None:
        self._stream, self._copy, self._finish = stream, copy, finish

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._copy.add(chunk)
            yield chunk
        self._copy.end()

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._finish(self._copy.read())


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(
        self, stream: httpx.AsyncByteStream, copy: BodyCopy, finish: Callable[[httpx.Response | None], Awaitable[None]]
    ) -> None:
        self._stream, self._copy, self._finish = stream, copy, finish

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._copy.add(chunk)
            yield chunk
        self._copy.end()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._finish(self._copy.read())


class TurgorTransport(_Hook, httpx.BaseTransport):
    """A transport of httpx that keeps limits.

    Parameters
    ----------
    limiter:
        Whose limits. It stays the caller's.
    transport:
        What really sends; `httpx.HTTPTransport()` by default. Closed with this one.
    service:
        Whose limits a request spends, or a function of the request that names it; None from it: not limited at all.
    endpoint, loop_type, loop:
        The same for the other scopes.
    tokens:
        What a call may cost, for limits that count tokens; or a function of the request.
    timeout:
        Seconds that a call may wait for its limits; None: not at all.
    tokens_of:
        Reads what the call cost off its response, such as `openai_tokens`; None from it: the estimate stays.

    The extension `turgor` of one request is a mapping that overrides `service`, `endpoint`, `loop_type`, `loop`,
    `tokens`, `priority`, `timeout` and `weight`.
    """

    def __init__(
        self,
        limiter: HierarchicalLimiter,
        transport: httpx.BaseTransport | None = None,
        *,
        service: str | Callable[[httpx.Request], str | None],
        endpoint: Text[httpx.Request] = "",
        loop_type: Text[httpx.Request] = "",
        loop: Text[httpx.Request] = "",
        tokens: int | Callable[[httpx.Request], int] = 0,
        timeout: float | None = None,
        tokens_of: TokensOf | None = None,
    ) -> None:
        super().__init__(
            CallNaming(service=service, endpoint=endpoint, loop_type=loop_type, loop=loop, tokens=tokens, timeout=timeout),
            tokens_of,
        )
        self._limiter, self._transport = limiter, transport or httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request when its limits allow it.

        Raises
        ------
        RateLimited
            They do not, not even within the timeout.
        """
        call = self._call_of(request)
        if call is None:
            return self._transport.handle_request(request)
        token = self._limiter.acquire(**call)
        try:
            response = self._transport.handle_request(request)
        except BaseException as error:
            self._fail(token, unsent=isinstance(error, UNSENT))
            raise
        self._observe(token, response)
        mark_response(response, call["service"])

        def finish(read: httpx.Response | None) -> None:
            self._finish(token, response.status_code, read)

        if response.is_closed:
            finish(response)
        else:
            response.stream = _Body(cast("httpx.SyncByteStream", response.stream), self._copy_for(response), finish)
        return response

    def close(self) -> None:
        self._transport.close()

    def _observe(self, token: RateToken, response: httpx.Response) -> None:
        try:
            token.observe(response.headers.multi_items(), response.status_code)
        except TurgorError as error:
            log.warning("the headers of a response are not taken in: %s", error)

    def _finish(self, token: RateToken, status: int, read: httpx.Response | None) -> None:
        if is_failure(status):
            self._fail(token, unsent=False)
            return
        tokens = self._tokens(read)
        try:
            if tokens is not None:
                token.settle(tokens)
            token.ok()
        except TurgorError as error:
            log.warning("a slot is not freed and lapses with its lease: %s", error)

    def _fail(self, token: RateToken, *, unsent: bool) -> None:
        try:
            if not unsent:
                token.settle(token.tokens)
            token.failed()
        except TurgorError as error:
            log.warning("a slot is not freed and lapses with its lease: %s", error)


class AsyncTurgorTransport(_Hook, httpx.AsyncBaseTransport):
    """`TurgorTransport` for `httpx.AsyncClient`, with an `AsyncHierarchicalLimiter`."""

    def __init__(
        self,
        limiter: AsyncHierarchicalLimiter,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        service: str | Callable[[httpx.Request], str | None],
        endpoint: Text[httpx.Request] = "",
        loop_type: Text[httpx.Request] = "",
        loop: Text[httpx.Request] = "",
        tokens: int | Callable[[httpx.Request], int] = 0,
        timeout: float | None = None,
        tokens_of: TokensOf | None = None,
    ) -> None:
        super().__init__(
            CallNaming(service=service, endpoint=endpoint, loop_type=loop_type, loop=loop, tokens=tokens, timeout=timeout),
            tokens_of,
        )
        self._limiter, self._transport = limiter, transport or httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """`TurgorTransport.handle_request`."""
        call = self._call_of(request)
        if call is None:
            return await self._transport.handle_async_request(request)
        token = await self._limiter.acquire(**call)
        try:
            response = await self._transport.handle_async_request(request)
        except BaseException as error:
            await _through(self._fail(token, unsent=isinstance(error, UNSENT)))
            raise
        try:
            await self._observe(token, response)
        except BaseException:
            await response.aclose()
            await _through(self._fail(token, unsent=False))
            raise
        mark_response(response, call["service"])

        async def finish(read: httpx.Response | None) -> None:
            await _through(self._finish(token, response.status_code, read))

        if response.is_closed:
            await finish(response)
        else:
            response.stream = _AsyncBody(cast("httpx.AsyncByteStream", response.stream), self._copy_for(response), finish)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _observe(self, token: AsyncRateToken, response: httpx.Response) -> None:
        try:
            await token.observe(response.headers.multi_items(), response.status_code)
        except TurgorError as error:
            log.warning("the headers of a response are not taken in: %s", error)

    async def _finish(self, token: AsyncRateToken, status: int, read: httpx.Response | None) -> None:
        if is_failure(status):
            await self._fail(token, unsent=False)
            return
        tokens = self._tokens(read)
        try:
            if tokens is not None:
                await token.settle(tokens)
            await token.ok()
        except TurgorError as error:
            log.warning("a slot is not freed and lapses with its lease: %s", error)

    async def _fail(self, token: AsyncRateToken, *, unsent: bool) -> None:
        try:
            if not unsent:
                await token.settle(token.tokens)
            await token.failed()
        except TurgorError as error:
            log.warning("a slot is not freed and lapses with its lease: %s", error)


async def _through(work: Awaitable[None]) -> None:
    """Do it to the end, even if the task that waits for it is cancelled: the slots of a call must come free."""
    await asyncio.shield(asyncio.ensure_future(work))
