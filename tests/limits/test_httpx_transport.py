"""What only httpx has: extensions of a request, streams, cancellation, transports that answer by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis import Redis

from http_stage import Answer, Stage
from support import wait_until
from turgor.limits import AsyncHierarchicalLimiter, HierarchicalLimiter, RateLimited
from turgor.limits.httpx_transport import MAX_BODY, AsyncTurgorTransport, TurgorTransport
from turgor.limits.response_usage import openai_tokens

LIMITS: dict[str, Any] = {
    "services": {
        "api": {"max_in_flight": 3, "token_limits": {"per_minute": 10_000}, "endpoints": {"chat": {"requests_per_minute": 5}}},
    },
    "loops": {"*": {"requests_per_minute": 9}},
    "loop_types": {"planner": {"requests_per_minute": 8}},
}
USAGE = json.dumps({"usage": {"total_tokens": 123}}).encode()


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage({"/two-parts": Answer(body=(USAGE[:9], USAGE[9:]))}) as stage:
        yield stage


@pytest.fixture
def limiter(redis_client: Redis, realm: str) -> HierarchicalLimiter:
    limiter = HierarchicalLimiter(redis_client, LIMITS, realm=realm)
    limiter.refresh()
    return limiter


def left(limiter: HierarchicalLimiter, scope: str = "service:api") -> dict[str, int]:
    return {usage.limit.id: usage.remaining for usage in limiter.usage(scope)}


def client_of(limiter: HierarchicalLimiter, transport: httpx.BaseTransport | None = None, **options: Any) -> httpx.Client:
    return httpx.Client(transport=TurgorTransport(limiter, transport, service="api", tokens=500, **options))


def test_an_extension_of_the_request_overrides_the_transport(limiter: HierarchicalLimiter, stage: Stage) -> None:
    options = {"endpoint": "chat", "loop": "planner-7", "loop_type": "planner", "tokens": 40, "weight": 2}

    with client_of(limiter) as client:
        client.get(f"{stage.url}/ok", extensions={"turgor": options})

    assert left(limiter)["tokens/1m"] == 9_960
    assert [left(limiter, scope)["requests/1m"] for scope in ("endpoint:api/chat", "loop:planner-7", "loop_type:planner")] == [
        3,
        7,
        6,
    ]


def test_an_extension_with_an_unknown_name_is_an_error(limiter: HierarchicalLimiter, stage: Stage) -> None:
    with client_of(limiter) as client, pytest.raises(TypeError, match="turgor: unknown option 'lop'; use service, endpoint"):
        client.get(f"{stage.url}/ok", extensions={"turgor": {"lop": "x"}})
    assert not stage.calls


def test_a_stream_is_settled_by_what_the_caller_has_read(limiter: HierarchicalLimiter, stage: Stage) -> None:
    with client_of(limiter, tokens_of=openai_tokens) as client, client.stream("GET", f"{stage.url}/two-parts") as response:
        parts = response.iter_raw()
        assert next(parts) == USAGE[:9], "nothing is read ahead: the second part is not sent yet"
        assert left(limiter) == {"tokens/1m": 9_500, "in_flight": 2}
        stage.go_on.set()
        assert b"".join(parts) == USAGE[9:]

    assert left(limiter) == {"tokens/1m": 9_877, "in_flight": 3}


def test_a_body_that_is_too_long_to_be_kept_keeps_its_estimate(limiter: HierarchicalLimiter, stage: Stage) -> None:
    stage.answers["/long"] = Answer(body=(USAGE + b" " * MAX_BODY,))

    with client_of(limiter, tokens_of=openai_tokens) as client:
        assert len(client.get(f"{stage.url}/long").content) > MAX_BODY

    assert left(limiter) == {"tokens/1m": 9_500, "in_flight": 3}


def test_a_body_that_is_not_what_its_encoding_says_frees_its_slot(limiter: HierarchicalLimiter, stage: Stage) -> None:
    stage.answers["/odd"] = Answer(headers={"Content-Encoding": "gzip"}, body=(USAGE,))

    with client_of(limiter, tokens_of=openai_tokens) as client, pytest.raises(httpx.DecodingError):
        client.get(f"{stage.url}/odd")

    assert left(limiter) == {"tokens/1m": 9_500, "in_flight": 3}


def test_a_transport_that_answers_by_itself_is_settled_at_once(limiter: HierarchicalLimiter) -> None:
    answering = httpx.MockTransport(lambda request: httpx.Response(200, json={"usage": {"total_tokens": 7}}))

    with client_of(limiter, answering, tokens_of=openai_tokens) as client:
        client.get("http://test/")

    assert left(limiter) == {"tokens/1m": 9_993, "in_flight": 3}


async def reached(stage: Stage, calls: int) -> None:
    await asyncio.to_thread(wait_until, lambda: stage.calls["/two-parts"] == calls, description=f"{calls} calls have arrived")


def test_asyncio_holds_as_many_calls_in_flight_as_allowed(
    server_url: str, limiter: HierarchicalLimiter, stage: Stage, realm: str
) -> None:
    async def main() -> list[object]:
        levels = AsyncHierarchicalLimiter(server_url, realm=realm)
        async with httpx.AsyncClient(transport=AsyncTurgorTransport(levels, service="api"), timeout=10) as client:
            calls = [asyncio.ensure_future(client.get(f"{stage.url}/two-parts")) for _ in range(8)]
            await reached(stage, 3)
            await asyncio.to_thread(
                wait_until, lambda: sum(call.done() for call in calls) == 5, description="the rest is refused"
            )
            stage.go_on.set()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await levels.close()
        return [*outcomes]

    outcomes = asyncio.run(main())

    assert sum(isinstance(outcome, RateLimited) for outcome in outcomes) == 5
    assert stage.calls["/two-parts"] == 3
    assert left(limiter)["in_flight"] == 3


def test_a_cancelled_call_frees_its_slot(server_url: str, limiter: HierarchicalLimiter, stage: Stage, realm: str) -> None:
    async def main() -> None:
        levels = AsyncHierarchicalLimiter(server_url, realm=realm)
        async with httpx.AsyncClient(transport=AsyncTurgorTransport(levels, service="api", tokens=500)) as client:
            call = asyncio.ensure_future(client.get(f"{stage.url}/two-parts"))
            await reached(stage, 1)
            assert left(limiter)["in_flight"] == 2
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        await levels.close()

    asyncio.run(main())

    assert left(limiter) == {"tokens/1m": 9_500, "in_flight": 3}
