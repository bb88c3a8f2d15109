"""What services say of their own limits: each form as its documentation has it, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from limit_calls import START_US
from turgor.limits import HierarchicalLimiter, Unit
from turgor.limits.headers import MAX_WAIT_S, HeaderFamily, HeaderParser, parse_headers
from turgor.limits.headers.http_date import parse_http_date
from turgor.limits.headers.reset import seconds_until
from turgor.limits.observation import Observation, Quota

NOW_S = 1_764_072_000.0  # 2025-11-25T12:00:00Z
REQUESTS, TOKENS = Unit.REQUESTS, Unit.TOKENS


def quotas(headers: Any, status: int | None = 200) -> tuple[Quota, ...]:
    return parse_headers(headers, status, now_s=NOW_S).quotas


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        ("0.25", 0.25),
        ("59.", 59.0),
        ("1764072030", 30.0),  # epoch seconds
        ("1764072030.5", 30.5),
        ("1764071000", 0.0),  # the past
        ("1764072030250", 30.25),  # epoch milliseconds
        ("999999999", MAX_WAIT_S),  # 31 years: the largest delta there is
        ("1000000000", 0.0),  # one second more is a moment, in 2001
        ("100000000000", 0.0),  # milliseconds, in 1973
        ("99999999999", MAX_WAIT_S),  # the year 5138
        ("99999999999999", MAX_WAIT_S),
        ("6m0s", 360.0),
        ("1s", 1.0),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("2m59.56s", 179.56),
        ("1d", 86_400.0),
        ("500us", 0.0005),
        ("2025-11-25T12:01:00Z", 60.0),
        ("2025-11-25t14:01:00.5+02:00", 60.5),
        ("2025-11-25T11:59:59Z", 0.0),
        ("Tue, 25 Nov 2025 12:00:42 GMT", 42.0),
        ("Tuesday, 25-Nov-25 12:00:42 GMT", 42.0),
        ("Tue Nov 25 12:00:42 2025", 42.0),
        ("Sun Nov  6 08:49:37 1994", 0.0),
    ],
)
def test_a_reset_is_read_in_each_of_its_forms(text: str, seconds: float) -> None:
    assert seconds_until(text, NOW_S) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "-1",
            "+5",
            "5 s",
            "1e3",
            "nan",
            "inf",
            "soon",
            "٣",
            "100000000000000",
            "9" * 30,
            "6m0",
            "m",
            "3x",
            "1.5.2s",
            "0x10",
        ),
        *("2025-11-25", "2025-11-25T12:01:00", "2025-13-25T12:01:00Z", "2025-11-25T12:01:60Z", "20251125T120100Z", "25 Nov 2025"),
        *("Tue, 25 Nov 2025 12:00:42 CET", "Tue, 31 Feb 2025 12:00:42 GMT", "Tue, 25 Nov 2025 25:00:42 GMT"),
    ],
)
def test_what_is_no_time_is_no_time(text: str) -> None:
    assert seconds_until(text, NOW_S) is None


def test_a_year_of_two_digits_is_at_most_fifty_years_ahead() -> None:
    """RFC 9110, section 5.6.7."""
    assert parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT", NOW_S) == 784_111_777.0
    assert parse_http_date("Friday, 01-Jan-75 00:00:00 GMT", NOW_S) == 3_313_526_400.0
    assert parse_http_date("Thursday, 01-Jan-76 00:00:00 GMT", NOW_S) == 189_302_400.0


@pytest.mark.parametrize(
    ("headers", "retry_after_s"),
    [
        ({"Retry-After": "120"}, 120.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"RETRY-AFTER": "Tue, 25 Nov 2025 12:00:10 GMT"}, 10.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        ({"Retry-After": "31536000"}, MAX_WAIT_S),
        ({"retry-after-ms": "1250", "retry-after": "2"}, 1.25),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"Retry-After": "5, 9"}, 9.0),
        ([("Retry-After", "9"), ("retry-after", "5")], 9.0),
        ({b"Retry-After": b"7"}, 7.0),
        ({"Retry-After": 7}, 7.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "Infinity"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: Any, retry_after_s: float | None) -> None:
    assert parse_headers(headers, 429, now_s=NOW_S) == Observation((), retry_after_s, is_throttled=True)


@pytest.mark.parametrize("prefix", ["X-RateLimit", "x-rate-limit", "RateLimit"])
@pytest.mark.parametrize("reset", ["30", "1764072030", "1764072030000"])
def test_three_headers_are_one_quota(prefix: str, reset: str) -> None:
    headers = {f"{prefix}-Limit": "100", f"{prefix}-Remaining": "7", f"{prefix}-Reset": reset}

    assert quotas(headers) == (Quota(REQUESTS, 100, 7, 30.0),)


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        ({"X-RateLimit-Remaining": "7"}, Quota(REQUESTS, None, 7, None)),
        ({"X-RateLimit-Limit": "100"}, Quota(REQUESTS, 100, None, None)),
        ({"X-RateLimit-Remaining": "599.0", "X-RateLimit-Reset": "12"}, Quota(REQUESTS, None, 599, 12.0)),  # Reddit
        ({"RateLimit-Limit": "10, 10;w=1, 50;w=60", "RateLimit-Remaining": "3"}, Quota(REQUESTS, 10, 3, None)),  # draft 3
        ({"X-RateLimit-Limit": "100;w=60", "X-RateLimit-Remaining": "3"}, Quota(REQUESTS, 100, 3, None)),
        (
            {"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "1764072009.1", "X-RateLimit-Reset-After": "8.2"},
            Quota(REQUESTS, None, 1, 8.2),  # Discord's two clocks
        ),
    ],
)
def test_some_services_leave_out_or_add(headers: dict[str, str], quota: Quota) -> None:
    assert quotas(headers) == (quota,)


def test_repeated_triples_pair_up() -> None:
    pairs = [("X-RateLimit-Limit", "10"), ("X-RateLimit-Remaining", "3"), ("X-RateLimit-Reset", "1")]
    daily = [("x-ratelimit-limit", "1000"), ("x-ratelimit-remaining", "900"), ("x-ratelimit-reset", "3600")]

    assert quotas([*pairs, *daily]) == (Quota(REQUESTS, 10, 3, 1.0), Quota(REQUESTS, 1000, 900, 3600.0))


def test_what_does_not_pair_up_is_read_as_the_tightest() -> None:
    headers = {"X-RateLimit-Limit": "10, 1000", "X-RateLimit-Remaining": "900, 3", "X-RateLimit-Reset": "60"}

    assert quotas(headers) == (Quota(REQUESTS, 10, 3, 60.0),)


def test_a_reset_alone_is_no_quota() -> None:
    assert quotas({"X-RateLimit-Reset": "30"}) == ()


@pytest.mark.parametrize(
    ("policy", "service_limit", "expected"),
    [
        (None, '"default";r=50;t=30', [Quota(REQUESTS, None, 50, 30.0)]),
        ('"default";q=100;w=60', '"default";r=50;t=30', [Quota(REQUESTS, 100, 50, 30.0)]),
        ('"default";q=100;w=60', None, [Quota(REQUESTS, 100, None, None)]),
        (
            '"hour";q=1000;w=3600, "day";q=5000;w=86400',
            '"day";r=100;t=36000',
            [Quota(REQUESTS, 5000, 100, 36000.0), Quota(REQUESTS, 1000, None, None)],
        ),
        ('"a";q=9;qu="content-bytes", "b";q=5', '"a";r=1;t=1,"b";r=2;t=3', [Quota(REQUESTS, 5, 2, 3.0)]),
        ('"a";q=9;qu="concurrent-requests"', '"a";r=1', []),
        ('"llm";q=9000;qu="tokens"', '"llm";r=100;t=5', [Quota(TOKENS, 9000, 100, 5.0)]),
        ('"peruser";q=100;w=60;pk=:cHsdsRa894==:', '"peruser";r=9;pk=:dHJpYWwxMjEzMjM=:', [Quota(REQUESTS, 100, 9, None)]),
        ("default;q=100", "default; r=50; t=30; acme-x=@1659578233", [Quota(REQUESTS, 100, 50, 30.0)]),
        ("10;w=1, 50;w=60", "limit=10, remaining=3, reset=1", [Quota(REQUESTS, 10, 3, 1.0)]),  # draft 7
        ('"100-in-15min"; q=100; w=900', '"100-in-15min"; r=98; t=900', [Quota(REQUESTS, 100, 98, 900.0)]),  # express
        (None, '"a";r=1;t=1, "a";r=2;t=2', [Quota(REQUESTS, None, 1, 1.0), Quota(REQUESTS, None, 2, 2.0)]),
    ],
)
def test_the_ietf_has_a_field_for_policies_and_one_for_what_is_left(
    policy: str | None, service_limit: str | None, expected: list[Quota]
) -> None:
    headers = {"RateLimit-Policy": policy, "RateLimit": service_limit}

    assert quotas({name: value for name, value in headers.items() if value}) == tuple(expected)


@pytest.mark.parametrize(
    "value",
    [
        *('"default";r=50;t=30,', '"default";r=-1', '"default";r=1.5', '"default";r', '"default";t=3', '"a";r=1;t="x"', "50", ""),
        *("limit=x, remaining=3", "reset=5", '"a";r=1234567890123456', "\xff", '"a";r=1 "b";r=2', '("a" "b");r=1'),
    ],
)
def test_one_mistake_makes_a_structured_field_void(value: str) -> None:
    parser = HeaderParser()

    assert parser.parse({"RateLimit": value}, 200, now_s=NOW_S).quotas == ()
    if value not in ("50", '("a" "b");r=1'):  # valid, and names no policy
        assert parser.statistics().ignored[HeaderFamily.STRUCTURED] == 1


def test_a_field_may_be_split_over_several_headers() -> None:
    assert len(quotas([("RateLimit", '"a";r=1;t=1'), ("ratelimit", '"b";r=2;t=2')])) == 2


def test_openai_counts_requests_and_tokens() -> None:
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-reset-tokens": "6m0s",
    }

    assert quotas(headers) == (Quota(REQUESTS, 60, 59, 1.0), Quota(TOKENS, 150_000, 149_984, 360.0))


def test_those_who_speak_like_openai_name_the_period() -> None:
    headers = {
        "x-ratelimit-limit-requests-day": "1000",
        "x-ratelimit-remaining-requests-day": "999",
        "x-ratelimit-reset-requests-day": "33011.382867097855",
        "x-ratelimit-remaining-tokens-minute": "59000",
        "x-ratelimit-reset-tokens-minute": "11.5",
    }

    assert quotas(headers) == (Quota(REQUESTS, 1000, 999, 33011.382867097855), Quota(TOKENS, None, 59_000, 11.5))


def anthropic(**kinds: tuple[int, int, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for kind, (limit, remaining, reset) in kinds.items():
        prefix = f"anthropic-ratelimit-{kind.replace('_', '-')}"
        headers |= {f"{prefix}-limit": str(limit), f"{prefix}-remaining": str(remaining), f"{prefix}-reset": reset}
    return headers


SOON, LATER = "2025-11-25T12:00:01Z", "2025-11-25T12:00:09Z"


def test_anthropic_says_when_in_rfc_3339() -> None:
    assert quotas(anthropic(requests=(1000, 999, SOON), tokens=(96_000, 90_000, LATER))) == (
        Quota(REQUESTS, 1000, 999, 1.0),
        Quota(TOKENS, 96_000, 90_000, 9.0),
    )


def test_a_side_of_anthropics_tokens_with_room_does_not_narrow_the_whole() -> None:
    headers = anthropic(
        tokens=(96_000, 90_000, LATER), input_tokens=(80_000, 75_000, LATER), output_tokens=(16_000, 15_000, LATER)
    )

    assert quotas(headers) == (Quota(TOKENS, 96_000, 90_000, 9.0),)


def test_a_side_of_anthropics_tokens_that_is_used_up_ends_all_calls() -> None:
    headers = anthropic(tokens=(96_000, 75_000, SOON), input_tokens=(80_000, 75_000, SOON), output_tokens=(16_000, 0, LATER))

    assert quotas(headers) == (Quota(TOKENS, 96_000, 75_000, 1.0), Quota(TOKENS, 16_000, 0, 9.0))


def test_without_the_whole_both_sides_of_anthropics_tokens_are_one_quota() -> None:
    headers = anthropic(input_tokens=(80_000, 75_000, SOON), output_tokens=(16_000, 15_000, LATER))

    assert quotas(headers) == (Quota(TOKENS, 96_000, 90_000, 9.0),)
    assert quotas(anthropic(input_tokens=(80_000, 75_000, SOON))) == ()


GITHUB = {
    "x-ratelimit-limit": "60",
    "x-ratelimit-remaining": "0",
    "x-ratelimit-used": "60",
    "x-ratelimit-resource": "core",
    "x-ratelimit-reset": "1764075600",
}


@pytest.mark.parametrize(
    ("status", "headers", "is_throttled"),
    [
        (200, GITHUB, False),
        (403, GITHUB, True),  # the primary limit
        (429, GITHUB, True),
        (403, GITHUB | {"x-ratelimit-remaining": "14", "retry-after": "60"}, True),  # a secondary one
        (403, GITHUB | {"x-ratelimit-remaining": "14"}, False),  # plainly forbidden
        (403, {}, False),
        (429, {}, True),
        (503, {"Retry-After": "10"}, True),
        (503, {}, False),
        (529, {}, True),  # Anthropic is overloaded
        (500, {"Retry-After": "10"}, False),
        (None, {"Retry-After": "10"}, False),
    ],
)
def test_a_status_says_whether_the_call_was_one_too_many(status: int | None, headers: dict[str, str], is_throttled: bool) -> None:
    assert parse_headers(headers, status, now_s=NOW_S).is_throttled is is_throttled


def test_githubs_reset_is_an_hour_at_most() -> None:
    assert quotas(GITHUB) == (Quota(REQUESTS, 60, 0, 3600.0),)


def test_a_moment_counts_from_the_date_of_the_response() -> None:
    """Rivals compare the service's moment with their own clock: 100 ms of skew took one from 100 to 199 in a second."""
    five_minutes_ahead = {
        "Date": "Tue, 25 Nov 2025 12:05:00 GMT",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "1764072330",
    }
    retry = {"Date": "Mon, 05 Aug 2019 09:27:00 GMT", "Retry-After": "Mon, 05 Aug 2019 09:27:05 GMT"}

    assert quotas(five_minutes_ahead)[0].reset_s == 30.0
    assert parse_headers(retry, 429, now_s=NOW_S).retry_after_s == 5.0
    assert quotas(five_minutes_ahead | {"Date": "today"})[0].reset_s == 330.0


def test_what_a_cache_kept_is_not_read() -> None:
    parser = HeaderParser()

    kept = parser.parse({"Age": "5", "RateLimit": '"a";r=0;t=9', "Retry-After": "5"}, 200, now_s=NOW_S)
    fresh = parser.parse({"Age": "0", "RateLimit": '"a";r=0;t=9'}, 200, now_s=NOW_S)

    assert kept == Observation((), 5.0)
    assert fresh.quotas == (Quota(REQUESTS, None, 0, 9.0),)
    assert (parser.statistics().responses, parser.statistics().cached) == (2, 1)


def test_the_same_said_in_two_forms_is_one_quota() -> None:
    three = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "30"}
    again = {name.removeprefix("X-"): value for name, value in three.items()}

    assert quotas(three | again) == (Quota(REQUESTS, 100, 7, 30.0),)


def test_three_headers_that_repeat_a_field_are_not_taken_for_another_quota() -> None:
    """Beside the field, which says that it counts tokens, the three would be taken for requests."""
    field = {"RateLimit-Policy": '"a";q=9000;qu="tokens"', "RateLimit": '"a";r=100;t=5'}
    three = {"RateLimit-Limit": "9000", "RateLimit-Remaining": "100", "RateLimit-Reset": "5"}

    assert quotas(field | three) == (Quota(TOKENS, 9000, 100, 5.0),)


def test_what_turgor_writes_it_reads(redis_client: Redis, realm: str) -> None:
    tables = {"llm": {"requests_per_minute": 60, "max_in_flight": 4, "token_limits": {"per_minute": 9_000}}}
    limiter = HierarchicalLimiter(redis_client, {"services": tables}, realm=realm)
    limiter.acquire(service="llm", tokens=8_999, now_us=START_US)

    said = quotas(limiter.usage("service:llm", now_us=START_US).headers())

    assert [(quota.unit, quota.limit, quota.remaining, quota.reset_s) for quota in said] == [
        (REQUESTS, 60, 59, 60.0),
        (TOKENS, 9_000, 1, 60.0),
    ]


def test_the_malformed_are_counted_by_family_and_the_rest_is_used() -> None:
    parser = HeaderParser()
    headers = {
        "Retry-After": "soon",
        "X-RateLimit-Limit": "lots",
        "X-RateLimit-Remaining": "-3",
        "X-RateLimit-Reset": "tomorrow",
        "RateLimit": "?",
        "RateLimit-Limit": "8",
        "x-ratelimit-remaining-tokens": "1e9",
        "anthropic-ratelimit-requests-remaining": "9" * 20,
        "anthropic-ratelimit-requests-reset": "x" * 5_000,
        "X-RateLimit-Resource": "core",
    }

    assert parser.parse(headers, 429, now_s=NOW_S) == Observation((Quota(REQUESTS, 8, None, None),), None, is_throttled=True)
    assert parser.statistics().ignored == {
        HeaderFamily.RETRY_AFTER: 1,
        HeaderFamily.X_RATELIMIT: 3,
        HeaderFamily.RATELIMIT: 0,
        HeaderFamily.STRUCTURED: 1,
        HeaderFamily.OPENAI: 1,
        HeaderFamily.ANTHROPIC: 2,
    }
    assert parser.statistics().parsed[HeaderFamily.RATELIMIT] == 1
    assert sum(parser.statistics().parsed.values()) == 1


def test_a_response_without_such_headers_says_nothing() -> None:
    assert parse_headers({"Content-Type": "text/html", "Server": "x"}, 200) == Observation()
    assert parse_headers(iter([]), None) == Observation()
