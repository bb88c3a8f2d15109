"""Every mistake in the limits is one line: where, what is wrong, and what to do."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from turgor.limits.config import LimitsConfig
from turgor.limits.errors import ConfigError

SCOPE_KEYS = (
    "requests_per_second, requests_per_minute, requests_per_hour, requests_per_day, windows, burst_capacity, "
    "max_in_flight, token_limits, shadow, backlog, reserve"
)
GLOBAL_KEYS, LOOP_KEYS = f"{SCOPE_KEYS}, priority_ageing", f"{SCOPE_KEYS}, fair_weight"
SERVICE_KEYS = f"{SCOPE_KEYS}, endpoints, on_unreachable, local_share, breaker, adaptive, retry_budget, degradation"
KEYS = {"global": GLOBAL_KEYS, "services.x": SERVICE_KEYS, "loops.x": LOOP_KEYS, 'loops."*"': LOOP_KEYS}
HUGE = 10**5000


def problems_of(source: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        LimitsConfig.load(source)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return list(caught.value.problems)


def problems_in(text: str) -> list[str]:
    return problems_of(tomllib.loads(text))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("requests_per_minute = -5", "requests_per_minute: -5 is not allowed; use a whole number of at least 1"),
        ("requests_per_second = 0", "requests_per_second: 0 is not allowed; use a whole number of at least 1"),
        ("requests_per_hour = 2.0", "requests_per_hour: 2.0 is not allowed; use a whole number of at least 1"),
        ("requests_per_day = nan", "requests_per_day: nan is not allowed; use a whole number of at least 1"),
        ("max_in_flight = true", "max_in_flight: true is not allowed; use a whole number of at least 1"),
        ("max_in_flight = '5'", "max_in_flight: '5' is not allowed; use a whole number of at least 1"),
        ("max_in_flight = 2024-01-01", "max_in_flight: 2024-01-01 is not allowed; use a whole number of at least 1"),
        ("shadow = 3", "shadow: 3 is not allowed; use true or false"),
        ("max_in_flight = [5]", "max_in_flight: a list is not allowed; use a whole number of at least 1"),
        ("max_in_flight = {a = 5}", "max_in_flight: a table is not allowed; use a whole number of at least 1"),
        (
            "requests_per_minute = 1_000_000_000_000_001",
            "requests_per_minute: 1000000000000001 is not allowed; use a whole number of at most 1000000000000000",
        ),
        ("token_limits = {per_minute = 0}", "token_limits.per_minute: 0 is not allowed; use a whole number of at least 1"),
        ("token_limits = 5", "token_limits: 5 is not allowed; use a table, such as { per_minute = 100_000 }"),
        ("backlog = 5", "backlog: 5 is not allowed; use a table, such as { limit = 10_000 }"),
        ("backlog = {limit = 0}", "backlog.limit: 0 is not allowed; use a whole number of at least 1"),
        ("backlog = {limits = 5, bytes = 5}", "backlog.limits: unknown key; did you mean 'limit'?"),
        ("backlog = {}", "backlog.overflow: 'reject' has no cap; add limit or bytes"),
        (
            "backlog = {bytes = '5 apples'}",
            "backlog.bytes: '5 apples' is not a size; use one such as '64MB' or '1GiB', or a number of bytes",
        ),
        ("backlog = {bytes = 0}", "backlog.bytes: 0 is not allowed; use a whole number of bytes, or a size such as '64MB'"),
        (
            "backlog = {limit = 5, overflow = 'drop'}",
            "backlog.overflow: 'drop' is not allowed; use 'reject', 'shed', 'block' or 'coalesce'",
        ),
        (
            "backlog = {limit = 5, block_for = 5}",
            "backlog.block_for: '5s' has no effect; add overflow = \"block\", or remove block_for",
        ),
        ("windows = 5", 'windows: 5 is not allowed; use a list, such as [{ limit = 5, per = "10s" }]'),
        ("windows = {limit = 5, per = 1}", 'windows: a table is not allowed; use a list, such as [{ limit = 5, per = "10s" }]'),
        ("windows = [5]", 'windows[0]: 5 is not allowed; use a window, such as { limit = 5, per = "10s" }'),
        ("windows = [{limit = 5}]", 'windows[0].per: this key is missing; use a window, such as { limit = 5, per = "10s" }'),
        ("windows = [{per = 5}]", 'windows[0].limit: this key is missing; use a window, such as { limit = 5, per = "10s" }'),
        ("windows = [{per = 5, limit = 0}]", "windows[0].limit: 0 is not allowed; use a whole number of at least 1"),
        (
            "windows = [{per = '10', limit = 1}]",
            "windows[0].per: '10' is not a duration; use one such as '10s' or '1m30s', or a number of seconds",
        ),
        ("windows = [{per = 0, limit = 1}]", "windows[0].per: 0 is not allowed; use a duration from 1ms to 366d"),
        ("windows = [{per = 1, limit = 1, limits = 2}]", "windows[0].limits: unknown key; did you mean 'limit'?"),
        ("reserve = 5", 'reserve: 5 is not allowed; use a table, such as { share = 0.2, priority = "HIGH" }'),
        (
            "reserve = {share = 0.2}",
            'reserve.priority: this key is missing; use a table, such as { share = 0.2, priority = "HIGH" }',
        ),
        ("reserve = {share = 0.2, priority = 7, of = 1}", "reserve.of: unknown key; use one of share, priority"),
        (
            "max_in_flight = 5\nreserve = {share = 1, priority = 7}",
            "reserve.share: 1 is not allowed; use a share above 0 and below 1",
        ),
        (
            "max_in_flight = 5\nreserve = {share = 0.2, priority = 0}",
            "reserve.priority: 0 is not allowed; use a priority from 1 to 9, or one of LOW, NORMAL, HIGH, CRITICAL",
        ),
        (
            "max_in_flight = 5\nreserve = {share = 0.2, priority = 'TOP'}",
            "reserve.priority: 'TOP' is not allowed; use a priority from 1 to 9, or one of LOW, NORMAL, HIGH, CRITICAL",
        ),
        (
            "reserve = {share = 0.2, priority = 7}",
            "reserve: there is no limit to keep a part of; add one such as requests_per_minute, or remove reserve",
        ),
        (
            "requests_per_minute = 60\nmax_in_flight = 1\nreserve = {share = 0.2, priority = 7}",
            (
                "reserve: a share of 0.2 is all of 1 in flight, so work below the priority could never run; "
                "use a smaller share, or raise the limit"
            ),
        ),
        (
            "token_limits = {windows = [{per = '1s', limit = true}]}",
            "token_limits.windows[0].limit: true is not allowed; use a whole number of at least 1",
        ),
    ],
)
def test_a_value_that_is_not_allowed_names_its_path_and_what_is(line: str, problem: str) -> None:
    assert problems_in(f"[services.llm_api]\n{line}") == [f"services.llm_api.{problem}"]


@pytest.mark.parametrize("table", ["global", "services.x", "services.x.endpoints.y", "loop_types.x", "loops.x", 'loops."*"'])
def test_every_scope_has_the_same_rules(table: str) -> None:
    assert problems_in(f"[{table}]\nburst_capacity = -1\nlimit = 5\nrequest_per_hour = 5") == [
        f"{table}.burst_capacity: -1 is not allowed; use a whole number of at least 1",
        f"{table}.limit: unknown key; use one of {KEYS.get(table, SCOPE_KEYS)}",
        f"{table}.request_per_hour: unknown key; did you mean 'requests_per_hour'?",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("service.x = {}", "service: unknown key; did you mean 'services'?"),
        ("global_ = {}", "global_: unknown key; did you mean 'global'?"),
        ("x = 1", "x: unknown key; use one of global, services, loop_types, loops, tasks"),
        ("global.Requests-Per-Minute = 1", "global.Requests-Per-Minute: unknown key; did you mean 'requests_per_minute'?"),
        ("global.token_limits.per_minut = 1", "global.token_limits.per_minut: unknown key; did you mean 'per_minute'?"),
        ("global.endpoints.x = {}", "global.endpoints: unknown key here; it is one of a service"),
        ("global.'a b\\n\"' = 1", f'global."a b\\\\n\\"": unknown key; use one of {GLOBAL_KEYS}'),
        ('global."a\\nb" = 1', f'global."a\\nb": unknown key; use one of {GLOBAL_KEYS}'),
        (f"global.{'k' * 90} = 1", f"global.{'k' * 57}...: unknown key; use one of {GLOBAL_KEYS}"),
        # Scopes that bear the names of keys.
        ("services.token_limits.x = 1", f"services.token_limits.x: unknown key; use one of {SERVICE_KEYS}"),
        ("services.x.endpoints.windows.x = 1", f"services.x.endpoints.windows.x: unknown key; use one of {SCOPE_KEYS}"),
        ("loops.services.x = 1", f"loops.services.x: unknown key; use one of {LOOP_KEYS}"),
        ('loops.x."[key]" = 1', f'loops.x."[key]": unknown key; use one of {LOOP_KEYS}'),
    ],
)
def test_an_unknown_key_names_the_one_that_was_meant_or_all(text: str, problem: str) -> None:
    assert problems_in(text) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("global = 5", "global: 5 is not allowed; use a table, such as { requests_per_minute = 60 }"),
        ("services.x = 5", "services.x: 5 is not allowed; use a table, such as { requests_per_minute = 60 }"),
        ('loops."[key]" = 5', 'loops."[key]": 5 is not allowed; use a table, such as { requests_per_minute = 60 }'),
        ("loops.token_limits = 5", "loops.token_limits: 5 is not allowed; use a table, such as { requests_per_minute = 60 }"),
        (
            "services = []",
            "services: a list is not allowed; use a table of tables, such as { name = { requests_per_minute = 60 } }",
        ),
        (
            "services.x.endpoints = 1",
            "services.x.endpoints: 1 is not allowed; use a table of tables, such as { name = { requests_per_minute = 60 } }",
        ),
        ("tasks = 'x'", 'tasks: \'x\' is not allowed; use a table, such as { "proj.tasks.*" = "llm_api" }'),
    ],
)
def test_what_should_be_a_table_says_which(text: str, problem: str) -> None:
    assert problems_in(text) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('services."my api" = {}', "services.\"my api\": this name is not possible; use no spaces, '/', ':' or '*'"),
        ('services."*" = {}', "services.\"*\": this name is not possible; use no spaces, '/', ':' or '*'"),
        ('services."" = {}', 'services."": the name is empty; give one'),
        ('loops."" = {}', 'loops."": the name is empty; give one'),
        ('loops."a\\tb" = {}', 'loops."a\\tb": this name is not possible; use printable characters only'),
        (
            f"loop_types.{'x' * 201} = {{}}",
            f"loop_types.{'x' * 57}...: this name is not possible; use at most 200 characters",
        ),
        (
            'services.x.endpoints."chat*" = {}',
            'services.x.endpoints."chat*": a name is not a pattern; give one full name, or "*" alone for all that are not named',
        ),
    ],
)
def test_a_name_that_no_scope_can_have_says_why(text: str, problem: str) -> None:
    assert problems_in(text) == [problem]


class TestBursts:
    @pytest.mark.parametrize(
        ("rates", "problem"),
        [
            (
                "requests_per_minute = 60",
                "100 is above requests_per_minute = 60, so the burst could never be spent; use at most 60",
            ),
            (
                "requests_per_second = 200\nrequests_per_day = 99",
                "100 is above requests_per_day = 99, so the burst could never be spent; use at most 99",
            ),
            (
                "requests_per_day = 200\nwindows = [{ limit = 300, per = 5 }, { limit = 7, per = 9 }]",
                "100 is above windows[1].limit = 7, so the burst could never be spent; use at most 7",
            ),
        ],
    )
    def test_a_burst_above_a_rate_could_never_be_spent(self, rates: str, problem: str) -> None:
        assert problems_in(f"[services.x]\nburst_capacity = 100\n{rates}") == [f"services.x.burst_capacity: {problem}"]

    @pytest.mark.parametrize("others", ["", "max_in_flight = 5", "token_limits = { per_minute = 1000 }", "windows = []"])
    def test_a_burst_needs_a_rate_of_requests(self, others: str) -> None:
        assert problems_in(f"[loops.x]\nburst_capacity = 10\n{others}") == [
            "loops.x.burst_capacity: 10 has no rate to shape; add one such as requests_per_minute, or remove burst_capacity"
        ]

    def test_a_misspelled_rate_is_one_mistake_not_two(self) -> None:
        assert problems_in("[loops.x]\nburst_capacity = 10\nrequest_per_minute = 60") == [
            "loops.x.request_per_minute: unknown key; did you mean 'requests_per_minute'?"
        ]

    def test_a_wrong_rate_is_one_mistake_not_two(self) -> None:
        assert problems_in("[loops.x]\nburst_capacity = 10\nrequests_per_minute = -60") == [
            "loops.x.requests_per_minute: -60 is not allowed; use a whole number of at least 1"
        ]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            "requests_per_minute = 5\nwindows = [{ limit = 9, per = '60s' }]",
            "windows: 1m is limited by requests_per_minute and by windows[0]; keep one of them",
        ),
        (
            "windows = [{ limit = 9, per = 90 }, { limit = 9, per = '90s' }, { limit = 9, per = '1m30s' }]",
            "windows: 90s is limited by windows[0] and by windows[1] and by windows[2]; keep one of them",
        ),
        (
            "token_limits = { per_day = 5, windows = [{ limit = 9, per = '24h' }] }",
            "token_limits.windows: 1d is limited by per_day and by windows[0]; keep one of them",
        ),
    ],
)
def test_one_length_in_one_unit_is_limited_once(lines: str, problem: str) -> None:
    assert problems_in(f"[global]\n{lines}") == [f"global.{problem}"]


def test_two_lengths_limited_twice_are_two_mistakes() -> None:
    text = "[global]\nrequests_per_hour = 2\nrequests_per_day = 5\nwindows = [{ limit = 1, per = '24h' }, { limit = 1, per = '60m' }]"
    assert problems_in(text) == [
        "global.windows: 1h is limited by requests_per_hour and by windows[1]; keep one of them",
        "global.windows: 1d is limited by requests_per_day and by windows[0]; keep one of them",
    ]


def test_all_mistakes_are_reported_at_once() -> None:
    text = """
    globl = {}
    [services.llm_api]
    requests_per_minute = 60
    burst_capacity = 100
    max_in_flight = 0
    [services.llm_api.endpoints.chat]
    request_per_minute = 5
    [services.git]
    windows = [{ limit = 1, per = "soon" }, { limit = "many", per = "1s" }]
    [loops."*"]
    requests_per_second = 1.5
    [tasks]
    "proj.chat" = "llm_api/chat"
    "proj.typo" = "llm_api/chta"
    "proj.git" = "git"
    "proj.lost" = "nowhere"
    """
    assert problems_in(text) == [
        "services.llm_api.burst_capacity: 100 is above requests_per_minute = 60, so the burst could never be spent; use at most 60",
        "services.llm_api.max_in_flight: 0 is not allowed; use a whole number of at least 1",
        "services.llm_api.endpoints.chat.request_per_minute: unknown key; did you mean 'requests_per_minute'?",
        "services.git.windows[0].per: 'soon' is not a duration; use one such as '10s' or '1m30s', or a number of seconds",
        "services.git.windows[1].limit: 'many' is not allowed; use a whole number of at least 1",
        'loops."*".requests_per_second: 1.5 is not allowed; use a whole number of at least 1',
        "tasks.\"proj.typo\": endpoint 'llm_api/chta' is not defined; did you mean 'llm_api/chat'?",
        "tasks.\"proj.lost\": service 'nowhere' is not defined; use one of 'git', 'llm_api'",
        "globl: unknown key; did you mean 'global'?",
    ]


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ({1: {}}, "1: this key is not possible; use text"),
        ({"loops": {1: {}}}, "loops[1]: this key is not possible; use text"),
        ({"global": {None: 1}}, "global.None: this key is not possible; use text"),
        (
            {"global": {"max_in_flight": HUGE}},
            "global.max_in_flight: a number of this size is not allowed; use a whole number of at most 1000000000000000",
        ),
        ({"loops": {"\udc80": {}}}, 'loops."\ufffd\ufffd\ufffd": this name is not possible; use printable characters only'),
        ({"\udc80": {}}, "limits: '\\udc80' is not allowed; use text that UTF-8 can write"),
        (
            {"global": {"max_in_flight": b"5"}},
            "global.max_in_flight: a Python bytes is not allowed; use a whole number of at least 1",
        ),
        (
            {"global": {"max_in_flight": "x" * 99}},
            f"global.max_in_flight: '{'x' * 57}...' is not allowed; use a whole number of at least 1",
        ),
    ],
)
def test_what_only_python_can_say_is_one_line_too(tables: Any, problem: str) -> None:
    assert problems_of(tables) == [problem]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('on_unreachable = "maybe"', "on_unreachable: 'maybe' is not allowed; use 'closed', 'open' or 'local'"),
        ("on_unreachable = true", "on_unreachable: true is not allowed; use 'closed', 'open' or 'local'"),
        ('on_unreachable = "local"\nlocal_share = 0', "local_share: 0 is not allowed; use a number above 0, and at most 1"),
        ('on_unreachable = "local"\nlocal_share = 1.5', "local_share: 1.5 is not allowed; use a number above 0, and at most 1"),
        ('on_unreachable = "local"\nlocal_share = nan', "local_share: nan is not allowed; use a number above 0, and at most 1"),
        (
            'on_unreachable = "local"\nlocal_share = "a lot"',
            "local_share: 'a lot' is not allowed; use a number above 0, and at most 1",
        ),
        (
            "local_share = 0.2",
            'local_share: 0.2 has no effect; add on_unreachable = "local", or remove local_share',
        ),
    ],
)
def test_what_becomes_of_calls_in_an_outage_is_checked(line: str, problem: str) -> None:
    assert problems_in(f"[services.llm_api]\n{line}") == [f"services.llm_api.{problem}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("global.priority_ageing = '10ms'", "global.priority_ageing: '10ms' is not allowed; use a duration of at least 1s"),
        (
            "global.priority_ageing = 'soon'",
            "global.priority_ageing: 'soon' is not a duration; use one such as '10s' or '1m30s', or a number of seconds",
        ),
        ("services.x.priority_ageing = '5m'", "services.x.priority_ageing: unknown key here; it is one of [global]"),
        ("services.x.fair_weight = 2", "services.x.fair_weight: unknown key here; it is one of a loop"),
        ("loops.x.breaker = true", "loops.x.breaker: unknown key here; it is one of a service"),
        ("loops.x.fair_weight = 0", "loops.x.fair_weight: 0 is not allowed; use a whole number from 1 to 100"),
        ("loops.x.fair_weight = 101", "loops.x.fair_weight: 101 is not allowed; use a whole number from 1 to 100"),
        ("loops.x.fair_weight = 1.5", "loops.x.fair_weight: 1.5 is not allowed; use a whole number from 1 to 100"),
    ],
)
def test_what_says_in_which_order_work_is_served_is_checked(text: str, problem: str) -> None:
    assert problems_in(text) == [problem]
