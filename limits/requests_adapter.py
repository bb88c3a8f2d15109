"""An adapter for requests that asks a limiter before each request, and tells it what the response says.

    session = requests.Session()
    session.mount("https://api.example.com/", TurgorAdapter(limiter, service="llm_api", timeout=30, tokens_of=openai_tokens))

    before the request      `acquire`; a refusal raises `RateLimited`, at once or after `timeout` seconds
    when the headers come   `observe`: a 429 closes the service for everybody; the call is `throttled` and over
    when the body is read   its tokens are settled, its slots are free: `ok`, or `failed` after a 5xx
    a broken connection     `failed`

Without `stream=True` requests reads the body at once; the adapter does it in its place, to be there when it ends, so
`response.elapsed` includes it. With `stream=True` nothing is read ahead: `tokens_of` is not asked, and the slots are
free when the body has been read to its end or the response is closed (else when their lease lapses). Tokens come back
only for a call that surely never reached its service. Each redirect is a call of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    import requests
    from requests.adapters import HTTPAdapter
except ModuleNotFoundError as error:  # pragma: no cover - a test imports this without requests, in a process of its own
    raise ImportError("turgor.limits.requests_adapter needs requests: pip install 'turgor[requests]'") from error

from urllib3.exceptions import NewConnectionError
from urllib3.util import Retry

from .errors import TurgorError
from .hierarchical import HierarchicalLimiter
from .http_call import CallNaming, Text, is_failure, log, tokens_in
from .rate_token import RateToken
from .refusal import mark_response


class TurgorAdapter(HTTPAdapter):
    """An adapter of requests that keeps limits.

    Parameters
    ----------
    limiter:
        Whose limits. It stays the caller's.
    service:
        Whose limits a request spends, or a function of the `PreparedRequest` that names it; None from it: not
        limited at all.
    endpoint, loop_type, loop:
        The same for the other scopes.
    tokens:
        What a call may cost, for limits that count tokens; or a function of the request.
    timeout:
        Seconds that a call may wait for its limits; None: not at all. (The timeouts of the connection are those
        that `requests` takes.)
    tokens_of:
        Reads what the call cost off its response, such as `openai_tokens`; None from it: the estimate stays.
    max_retries:
        How often a connection is tried again that could not be made. What urllib3 would send again by itself
        would be a call that no limit knows of, so other retries are not allowed here.
    options:
        Those of `requests.adapters.HTTPAdapter`.

    Raises
    ------
    ValueError
        `max_retries` repeats more than connecting.
    """

    def __init__(
        self,
        limiter: HierarchicalLimiter,
        *,
        service: str | Callable[[requests.PreparedRequest], str | None],
        endpoint: Text[requests.PreparedRequest] = "",
        loop_type: Text[requests.PreparedRequest] = "",
        loop: Text[requests.PreparedRequest] = "",
        tokens: int | Callable[[requests.PreparedRequest], int] = 0,
        timeout: float | None = None,
        tokens_of: Callable[[requests.Response], int | None] | None = None,
        max_retries: int | Retry = 0,
        **options: Any,
    ) -> None:
        super().__init__(max_retries=_connecting_only(max_retries), **options)
        self._naming = CallNaming[requests.PreparedRequest](
            service=service, endpoint=endpoint, loop_type=loop_type, loop=loop, tokens=tokens, timeout=timeout
        )
        self._limiter, self._tokens_of = limiter, tokens_of

    def send(self, request: requests.PreparedRequest, stream: bool = False, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: FBT001, FBT002 - as the base class has it
        """Send a request when its limits allow it.

        Raises
        ------
        RateLimited
            They do not, not even within the timeout.
        """
        call = self._naming.call_of(request)
        if call is None:
            return super().send(request, stream, *args, **kwargs)
        token = self._limiter.acquire(**call)
        try:
            response = super().send(request, stream, *args, **kwargs)
            self._observe(token, response)
            mark_response(response, call["service"])
            if not stream:
                # Kept by the response, as requests itself would have it.
                _ = response.content
        except BaseException as error:
            _fail(token, unsent=_is_unsent(error))
            raise
        if stream:
            _when_released(response, lambda: self._finish(token, response, tokens=None))
        else:
            tokens = None if self._tokens_of is None else tokens_in(response, self._tokens_of)
            self._finish(token, response, tokens)
        return response

    def _observe(self, token: RateToken, response: requests.Response) -> None:
        try:
            token.observe(response.headers, response.status_code)
        except TurgorError as error:
            log.warning("the headers of a response are not taken in: %s", error)

    def _finish(self, token: RateToken, response: requests.Response, tokens: int | None) -> None:
        if is_failure(response.status_code):
            _fail(token, unsent=False)
            return
        try:
            if tokens is not None:
                token.settle(tokens)
            token.ok()
        except TurgorError as error:
            log.warning("a slot is not freed and lapses with its lease: %s", error)


def _fail(token: RateToken, *, unsent: bool) -> None:
    try:
        if not unsent:
            token.settle(token.tokens)
        token.failed()
    except TurgorError as error:
        log.warning("a slot is not freed and lapses with its lease: %s", error)


def _is_unsent(error: BaseException) -> bool:
    """Whether the request surely never reached its service."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    return isinstance(getattr(cause, "reason", cause), NewConnectionError)


def _when_released(response: requests.Response, finish: Callable[[], None]) -> None:
    """Call `finish` when the connection goes back to its pool: the body was read to its end, or closed."""
    raw = response.raw
    # A response to HEAD, or a 204, has nothing to read, and so nothing that would release it.
    if raw.closed or raw.length_remaining == 0:
        finish()
        return
    release = raw.release_conn

    def release_conn() -> None:
        raw.release_conn = release
        try:
            release()
        finally:
            finish()

    raw.release_conn = release_conn


def _connecting_only(retries: int | Retry) -> Retry:
    """Retries that send nothing twice."""
    if isinstance(retries, int):
        # Without the last one urllib3 sends a 429 or a 503 with a Retry-After again, or else raises.
        return Retry(
            total=retries, connect=retries, read=False, redirect=False, status=0, other=0, respect_retry_after_header=False
        )
    others = (retries.read, retries.status, retries.other)
    if any(others) or (retries.total and None in others):
        raise ValueError(f"max_retries: {retries!r} is not allowed; use a number, or a Retry with read=0, status=0 and other=0")
    return retries
