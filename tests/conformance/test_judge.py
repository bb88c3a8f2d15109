"""The judge of this suite notices one unit too many, of each kind of limit and on each kind of scope."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from redis import Redis

from .judge import Admitted, Court
from .traffic import PATTERNS, idle_then_burst, requests
from .wire import LEASE_US, Wire

START_US = 1_800_000_000_000_000
TABLES: list[tuple[str, dict[str, Any]]] = [
    ("requests_per_second", {"requests_per_second": 6}),
    ("requests_per_minute", {"requests_per_minute": 60}),
    ("windows", {"windows": [{"limit": 5, "per": "700ms"}]}),
    ("burst_capacity", {"requests_per_second": 9, "burst_capacity": 4}),
    ("max_in_flight", {"max_in_flight": 5}),
    ("token_limits", {"token_limits": {"per_second": 900}}),
]


def on(scope: str, table: dict[str, Any]) -> dict[str, Any]:
    """Tables that limit one kind of scope only."""
    tables: dict[str, Any] = {"services": {"llm": {}, "git": {}}}
    match scope:
        case "global":
            return tables | {"global": table}
        case "service":
            return {"services": {"llm": table, "git": {}}}
        case "endpoint":
            return {"services": {"llm": {"endpoints": {"*": table}}, "git": {}}}
        case _:
            return tables | {scope: {"*": table}}


def loosened(name: str, table: dict[str, Any]) -> dict[str, Any]:
    table = deepcopy(table)
    match table[name]:
        case int(limit):
            table[name] = limit + 1
        case [window]:
            window["limit"] += 1
        case tokens:
            tokens["per_second"] += 100
    return table


def judge(redis_client: Redis, realm: str, enforced: dict[str, Any], stated: dict[str, Any]) -> int:
    """Calls admitted under the enforced limits, judged by the stated ones."""
    court, wire, admitted = Court(stated), Wire(redis_client, realm, enforced), 0
    for answer in wire.ask(requests(idle_then_burst, 1_200, start_us=START_US)):
        if answer.allowed:
            request = answer.request
            call = Admitted(request.at_us, request.weight, request.tokens, answer.holder, request.at_us + LEASE_US)
            court.admit(request.service, request.endpoint, request.loop_type, request.loop, call)
            admitted += 1
    return admitted


@pytest.mark.parametrize("scope", ["global", "service", "endpoint", "loop_types", "loops"])
@pytest.mark.parametrize(("name", "table"), TABLES, ids=lambda value: value if isinstance(value, str) else "")
def test_one_unit_too_many_is_noticed(redis_client: Redis, realm: str, name: str, table: dict[str, Any], scope: str) -> None:
    assert judge(redis_client, f"{realm}-kept", on(scope, table), on(scope, table)) < 1_200

    with pytest.raises(AssertionError, match=r" of | was overdrawn by "):
        judge(redis_client, realm, on(scope, loosened(name, table)), on(scope, table))


def test_no_pattern_runs_backwards() -> None:
    for pattern in PATTERNS:
        times = [request.at_us for request in requests(pattern, 2_000, start_us=START_US)]
        assert times == sorted(times), pattern.__name__
