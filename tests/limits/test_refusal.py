"""What exceptions of HTTP clients say of a refusal. The clients are real; what they were answered is written here."""

from __future__ import annotations

import email.message
import math
import urllib.error
from typing import Any

import httpx
import pytest
import requests

from turgor.limits import Decision, RateLimited
from turgor.limits.refusal import Refusal, mark_response


def of_httpx(status: int, headers: dict[str, str]) -> Exception:
    response = httpx.Response(status, headers=headers, request=httpx.Request("GET", "http://x"))
    return httpx.HTTPStatusError("refused", request=response.request, response=response)


def of_requests(status: int, headers: dict[str, str]) -> Exception:
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers)
    return requests.HTTPError(response=response)


def of_urllib(status: int, headers: dict[str, str]) -> Exception:
    message = email.message.Message()
    for name, value in headers.items():
        message[name] = value
    return urllib.error.HTTPError("http://x", status, "refused", message, None)


@pytest.mark.parametrize("make", [of_httpx, of_requests, of_urllib])
@pytest.mark.parametrize(
    ("status", "headers", "refusal"),
    [
        (429, {"Retry-After": "7"}, Refusal(is_throttled=True, retry_after_s=7.0)),
        (429, {}, Refusal(is_throttled=True)),
        (529, {"retry-after-ms": "250"}, Refusal(is_throttled=True, retry_after_s=0.25)),
        (503, {"Retry-After": "7"}, Refusal(is_throttled=True, retry_after_s=7.0)),
        (503, {}, Refusal()),
        (500, {"Retry-After": "7"}, Refusal(retry_after_s=7.0)),
        (404, {"Retry-After": "soon"}, Refusal()),
    ],
    ids=str,
)
def test_a_response_says_whether_and_when(make: Any, status: int, headers: dict[str, str], refusal: Refusal) -> None:
    assert Refusal.of(make(status, headers)) == refusal


@pytest.mark.parametrize("make", [of_httpx, of_requests])
def test_a_hook_says_whose_response_it_is(make: Any) -> None:
    error = make(429, {})
    mark_response(error.response, "api")
    assert Refusal.of(error) == Refusal(is_throttled=True, service="api")


def test_our_own_refusal_is_no_word_of_the_service() -> None:
    decision = Decision(
        allowed=False, remaining=0, retry_after=2.5, reset_after=9.0, scope="global", limit="requests/1m", capacity=1
    )
    never = Decision(allowed=False, retry_after=math.inf, scope="global", limit="requests/1m", capacity=1)
    assert Refusal.of(RateLimited(never)) == Refusal()
    assert Refusal.of(RateLimited(decision)) == Refusal(is_throttled=True, retry_after_s=2.5, is_ours=True)


class OddHeaders:
    def items(self) -> list[int]:
        return [1, 2]


class Odd(Exception):
    def __init__(self, **members: Any) -> None:
        vars(self).update(members)


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), OSError(2, "no such file"), Odd(response="text"), Odd(response=b""), Odd(status=429), Odd(code="429", headers={}),
     Odd(headers=3, status=429), Odd(headers=OddHeaders(), status=429), requests.ConnectionError()],
    ids=repr,
)  # fmt: skip
def test_what_carries_no_response_says_nothing(error: Exception) -> None:
    assert Refusal.of(error) == Refusal()
