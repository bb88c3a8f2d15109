"""Whatever is given as limits either loads or is refused in lines that a person can read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turgor.limits.config import LimitsConfig
from turgor.limits.errors import ConfigError

KEYS = [
    *(
        "global",
        "services",
        "loop_types",
        "loops",
        "tasks",
        "endpoints",
        "windows",
        "token_limits",
        "limit",
        "per",
        "*",
        "a",
        "b",
    ),
    *(
        "requests_per_second",
        "requests_per_minute",
        "requests_per_hour",
        "requests_per_day",
        "burst_capacity",
        "max_in_flight",
        "shadow",
    ),
    *("per_second", "per_minute", "per_hour", "per_day", "[key]", "global_", "", "a/b", "x.*", "[", "[z-a]", "\u2028", "\ud800"),
    *("breaker", "adaptive", "failure_ratio", "cool_down", "max_cool_down", "floor", "decrease"),
]
VALUES: list[Any] = [
    1,
    2,
    60,
    0,
    -1,
    10**16,
    10**4000,
    0.5,
    "10s",
    "60s",
    "1m",
    "a",
    "a/b",
    "b/a",
    "/",
    "\u2028",
    "\udc80",
    {},
    [],
]

keys = st.sampled_from(KEYS) | st.text(max_size=5)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(VALUES)


def grow(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4)


junk = st.dictionaries(keys, st.recursive(scalars, grow, max_leaves=20), max_size=5)


def service(table: dict[str, Any], endpoints: dict[str, Any], health: dict[str, Any]) -> dict[str, Any]:
    return {**table, **health, "endpoints": endpoints}


def shaped(
    counts: st.SearchStrategy[Any], bursts: st.SearchStrategy[Any], lengths: list[Any], names: list[str], targets: list[str]
) -> st.SearchStrategy[dict[str, Any]]:
    """Tables of the right shape: they reach the rules that junk never meets."""
    windows = st.lists(st.fixed_dictionaries({"limit": counts, "per": st.sampled_from(lengths)}), max_size=2)
    token_tables = st.dictionaries(st.sampled_from(["per_second", "per_minute", "per_day"]), counts, max_size=2)
    scope_tables = st.fixed_dictionaries(
        {"requests_per_hour": counts},
        optional={
            "requests_per_minute": counts,
            "burst_capacity": bursts,
            "max_in_flight": counts,
            "windows": windows,
            "token_limits": token_tables,
        },
    )
    shares, durations = st.sampled_from([0.1, 0.5]) | counts, st.sampled_from(lengths)
    breakers = st.fixed_dictionaries(
        {}, optional={"failure_ratio": shares, "minimum_calls": bursts, "cool_down": durations, "max_cool_down": durations}
    )
    shares_of_limits = st.fixed_dictionaries({}, optional={"floor": shares, "decrease": shares, "recovery": durations})
    health = st.fixed_dictionaries(
        {}, optional={"breaker": st.booleans() | breakers, "adaptive": st.booleans() | shares_of_limits}
    )
    scopes = st.dictionaries(st.sampled_from(names), scope_tables, max_size=2)
    services = st.dictionaries(st.sampled_from(names[:2]), st.builds(service, scope_tables, scopes, health), max_size=2)
    tasks = st.dictionaries(keys, st.sampled_from(targets), max_size=1)
    optional = {"global": scope_tables, "services": services, "loops": scopes, "loop_types": scopes, "tasks": tasks}
    return st.fixed_dictionaries({}, optional=optional)


mostly_right = shaped(st.integers(50, 10**15), st.integers(1, 50), ["1s", 7, 0.5, "1d"], ["a", "b", "*"], ["a", "b", "a/b"])
nearly_right = shaped(
    st.integers(1, 100) | scalars,
    st.integers(1, 100) | scalars,
    ["1s", "60s", "1m", 60, 7, "x"],
    ["a", "*", "c*", "d e"],
    ["a", "b", "a/a", "a/b", "a/", ""],
)

JARGON = re.compile(r"pydantic|validation|mapping|instance|Input should|type=|Value error|\bNone\b|\bTrue\b|\bFalse\b")


def problems_of(source: Any) -> tuple[str, ...]:
    try:
        LimitsConfig.load(source)
    except ConfigError as error:
        return error.problems or ("nothing was said",)
    return ()


def load_or_refuse(source: Any) -> None:
    if problems := problems_of(source):
        assert all(re.fullmatch(r".+: .+", problem) and problem.isprintable() for problem in problems), problems
        return
    config = LimitsConfig.load(source)
    assert LimitsConfig.load(config.to_dict()) == config
    assert LimitsConfig.from_json(config.to_json()) == config
    for limits in config.definitions().values():
        assert len({limit.id for limit in limits}) == len(limits)
    for name in [*KEYS, *config.tasks]:
        service, endpoint = config.scopes_of(name)
        config.check_service(service, endpoint, task=name)


@settings(max_examples=400)
@given(junk)
def test_junk_loads_or_is_refused(tables: dict[str, Any]) -> None:
    load_or_refuse(tables)


@settings(max_examples=400)
@given(mostly_right | nearly_right)
def test_what_is_nearly_right_loads_or_is_refused(tables: dict[str, Any]) -> None:
    load_or_refuse(tables)


@given(nearly_right)
def test_no_problem_speaks_the_language_of_the_validator(tables: dict[str, Any]) -> None:
    # What the user wrote is quoted, and may say anything.
    said = re.sub(r"'[^']*'|\"[^\"]*\"", "", "\n".join(problems_of(tables)))
    assert not JARGON.search(said)


TOML_PIECES = [
    *(b"[global]\n", b"[services.a]\n", b"[loops.'*']\n", b"[tasks]\n", b"[[a]]\n", b"requests_per_minute", b"windows", b"a.b"),
    *(
        b" = ",
        b"5",
        b"-1",
        b"'a'",
        b'"',
        b"'''",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b"\n",
        b"\r",
        b"#",
        b"\x00",
        b"\xff",
        b"\xe2\x80\xa8",
    ),
    *(b"1979-05-27", b"1e999", b"nan", b"0x", b"true", b"\\u", b"\\ud800", b"9" * 4400),
]
toml = st.binary(max_size=30) | st.lists(st.sampled_from(TOML_PIECES), max_size=14).map(b"".join)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(toml)
def test_a_file_of_junk_loads_or_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "limits.toml"
    file.write_bytes(content)
    load_or_refuse(file)


@pytest.mark.parametrize("path", ["\n", "\u2028", "a\0", "\ud800", "x" * 5000, ""])
def test_a_path_of_junk_is_refused(path: str) -> None:
    (problem,) = problems_of(path)
    assert problem.isprintable()
