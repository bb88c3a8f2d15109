"""What only requests has: retries inside its adapter, and responses that have no body to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from redis import Redis
from urllib3.util import Retry

from http_stage import Answer, Stage
from turgor.limits import HierarchicalLimiter
from turgor.limits.requests_adapter import TurgorAdapter

LIMITS: dict[str, Any] = {"services": {"api": {"requests_per_minute": 9, "max_in_flight": 3}}}


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage({"/503": Answer(503, {"Retry-After": "0"}), "/empty": Answer(204, body=(b"",))}) as stage:
        yield stage


@pytest.fixture
def limiter(redis_client: Redis, realm: str) -> HierarchicalLimiter:
    return HierarchicalLimiter(redis_client, LIMITS, realm=realm)


def session_of(limiter: HierarchicalLimiter, **options: Any) -> requests.Session:
    session = requests.Session()
    session.mount("http://", TurgorAdapter(limiter, service="api", **options))
    return session


def left(limiter: HierarchicalLimiter) -> dict[str, int]:
    return {usage.limit.id: usage.remaining for usage in limiter.usage("service:api")}


@pytest.mark.parametrize(
    "retries", [Retry(3), Retry(total=3, status=2, read=0), Retry(read=1, status=0, other=0), Retry(None, other=2)]
)
def test_retries_that_no_limit_would_know_of_are_refused(limiter: HierarchicalLimiter, retries: Retry) -> None:
    with pytest.raises(ValueError, match=r"max_retries: .* is not allowed; use a number, or a Retry with read=0"):
        TurgorAdapter(limiter, service="api", max_retries=retries)


@pytest.mark.parametrize(
    "retries",
    [0, 3, Retry(total=3, connect=3, read=0, status=0, other=0, respect_retry_after_header=False), Retry(0, read=False)],
)
def test_what_reached_its_service_is_not_sent_again(limiter: HierarchicalLimiter, stage: Stage, retries: int | Retry) -> None:
    """urllib3 sends a 503 with a Retry-After again by itself, with no more than `max_retries=3`."""
    with session_of(limiter, max_retries=retries) as session:
        assert session.get(f"{stage.url}/503", timeout=10).status_code == 503

    assert stage.calls == {"/503": 1}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("method", "path"), [("HEAD", "/ok"), ("GET", "/empty")])
def test_a_response_without_a_body_frees_its_slot_at_once(
    limiter: HierarchicalLimiter, stage: Stage, method: str, path: str, stream: bool
) -> None:
    with session_of(limiter) as session:
        session.request(method, stage.url + path, stream=stream, timeout=10)

        assert left(limiter) == {"requests/1m": 8, "in_flight": 3}


def test_a_stream_that_is_read_piece_by_piece_frees_its_slot_at_its_end(limiter: HierarchicalLimiter, stage: Stage) -> None:
    stage.answers["/long"] = Answer(body=(b"x" * 100_000,))
    with session_of(limiter) as session:
        response = session.get(f"{stage.url}/long", stream=True, timeout=10)
        assert left(limiter)["in_flight"] == 2

        assert sum(map(len, response.iter_content(8_192))) == 100_000

        assert left(limiter)["in_flight"] == 3
