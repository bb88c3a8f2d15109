"""Whatever a service sends, the parser answers, within bounds, and counts what it could not read."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from turgor.limits.headers import MAX_WAIT_S, HeaderFamily, HeaderParser
from turgor.limits.headers.parser import NAMES, TRIPLES
from turgor.limits.headers.reset import seconds_until

NOW_S = 1_764_072_000.0

names = st.one_of(
    st.sampled_from(sorted(NAMES)).map(str.title),
    st.sampled_from(sorted(NAMES)).map(str.encode),
    st.text(max_size=12),
    st.binary(max_size=12),
)
near_misses = st.text('0123456789.,;:=-+"@?%()*/ mshdTZGNovTue\\', max_size=40)
values: st.SearchStrategy[Any] = st.one_of(
    near_misses,
    st.text(max_size=40),
    st.binary(max_size=40),
    st.integers(),
    st.floats(),
    st.none(),
    st.integers(0, 10**18).map(str),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.lists(near_misses, max_size=3),
    st.builds('"{}";r={};t={}'.format, st.text("ab", max_size=2), st.integers(-5, 10**16), st.integers(-5, 10**16)),
    st.builds('"{}";q={};qu="{}"'.format, st.text("ab", max_size=2), st.integers(0, 99), st.sampled_from(["requests", "x"])),
)
statuses = st.one_of(st.none(), st.sampled_from([200, 403, 429, 503, 529]), st.integers())
clocks = st.floats(0, 4e9)


@given(st.lists(st.tuples(names, values), max_size=12), statuses, clocks)
@example([("Retry-After", "0001-01-01T00:00:00+14:00")], 429, 0.0)
@example([("Retry-After", "9999-12-31T23:59:59-14:00")], 429, 0.0)
@example([("Date", "Fri, 31 Dec 9999 23:59:59 GMT"), ("Retry-After", "5")], 429, 0.0)
@example([("RateLimit", '"a";x=@-999999999999;r=1')], 200, 0.0)
def test_no_header_makes_the_parser_raise_or_leave_its_bounds(
    pairs: list[tuple[Any, Any]], status: int | None, now_s: float
) -> None:
    parser = HeaderParser()

    observation = parser.parse(pairs, status, now_s=now_s)

    waits = [quota.reset_s for quota in observation.quotas] + [observation.retry_after_s]
    counts = [count for quota in observation.quotas for count in (quota.limit, quota.remaining)]
    assert all(wait is None or 0.0 <= wait <= MAX_WAIT_S for wait in waits)
    assert all(count is None or (type(count) is int and 0 <= count < 10**15) for count in counts)
    assert isinstance(observation.is_throttled, bool)
    assert parser.parse(pairs, status, now_s=now_s) == observation


@given(st.dictionaries(st.sampled_from([name for triple in TRIPLES for name in triple.names]), values))
def test_each_header_of_a_family_is_either_understood_or_ignored(headers: dict[str, Any]) -> None:
    parser = HeaderParser()
    parser.parse(headers, 200, now_s=NOW_S)

    statistics = parser.statistics()
    assert sum(statistics.parsed.values()) + sum(statistics.ignored.values()) == len(headers)
    assert set(statistics.parsed) == set(statistics.ignored) == set(HeaderFamily)


@given(st.text(max_size=60), clocks)
def test_no_text_is_a_time_out_of_bounds(text: str, now_s: float) -> None:
    seconds = seconds_until(text, now_s)

    assert seconds is None or 0.0 <= seconds <= MAX_WAIT_S


@given(st.integers(0, 10**7), st.floats(1.6e9, 2e9))
def test_seconds_milliseconds_and_a_delta_mean_the_same(delay_s: int, now_s: float) -> None:
    now_s = float(int(now_s))
    expected = min(float(delay_s), MAX_WAIT_S)

    assert seconds_until(str(delay_s), now_s) == expected
    assert seconds_until(str(int(now_s) + delay_s), now_s) == expected
    assert seconds_until(str((int(now_s) + delay_s) * 1000), now_s) == expected


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int, millis: int) -> None:
    written = f"{hours}h{minutes}m{seconds}s{millis}ms"

    found = seconds_until(written, NOW_S)

    assert found is not None
    assert abs(found - (hours * 3600 + minutes * 60 + seconds + millis / 1000)) < 1e-6
