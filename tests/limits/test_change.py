"""A diff of limits speaks the language of `limits.toml` and of `turgor limits set`."""

from __future__ import annotations

from typing import Any

from turgor.limits import LimitsConfig
from turgor.limits.change import Change, changes


def lines(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [str(each) for each in changes(LimitsConfig.load(old), LimitsConfig.load(new))]


def test_nothing_is_different() -> None:
    assert lines({"services": {"a": {"max_in_flight": 1}}}, {"services": {"a": {"max_in_flight": 1}}}) == []


def test_each_key_of_each_scope_is_one_change() -> None:
    old = {
        "global": {"max_in_flight": 5},
        "services": {"a": {"requests_per_minute": 60, "burst_capacity": 5, "token_limits": {"per_minute": 9}}},
        "loops": {"*": {"requests_per_minute": 1}},
        "tasks": {"proj.x": "a"},
    }
    new = {
        "global": {"max_in_flight": 6},
        "services": {
            "a": {
                "requests_per_minute": 30,
                "windows": [{"limit": 3, "per": "10s"}],
                "token_limits": {"windows": [{"limit": 7, "per": 30}]},
                "endpoints": {"chat": {"max_in_flight": 1}},
            },
            "b": {},
        },
        "tasks": {"proj.x": "b", "proj.y": "a"},
    }
    assert lines(old, new) == [
        "global max_in_flight: 5 -> 6",
        "service:a requests_per_minute: 60 -> 30",
        "service:a burst_capacity: 5 -> none",
        "service:a token_limits.per_minute: 9 -> none",
        "service:a windows[10s]: none -> 3",
        "service:a token_limits.windows[30s]: none -> 7",
        "loop:*: not named any more",
        "loop:* requests_per_minute: 1 -> none",
        'tasks proj.x: "a" -> "b"',
        'tasks proj.y: none -> "a"',
        "endpoint:a/chat: named",
        "endpoint:a/chat max_in_flight: none -> 1",
        "service:b: named",
    ]


def test_a_switch_is_a_change_and_so_is_each_of_its_keys() -> None:
    """`breaker = true` was no difference, and `turgor limits apply` said that there was nothing to change."""
    off: dict[str, Any] = {"services": {"a": {"max_in_flight": 1}}}
    on: dict[str, Any] = {"services": {"a": {"max_in_flight": 1, "breaker": True}}}
    tuned: dict[str, Any] = {"services": {"a": {"max_in_flight": 1, "breaker": {"cool_down": "9s"}}}}
    assert lines(off, on) == ["service:a breaker: none -> true"]
    assert lines(on, tuned) == ['service:a breaker.cool_down: none -> "9s"']
    assert lines(tuned, off) == ["service:a breaker: true -> none", 'service:a breaker.cool_down: "9s" -> none']


def test_the_way_back_is_the_mirror_image() -> None:
    old: dict[str, Any] = {"global": {"requests_per_day": 1}, "services": {"a": {"max_in_flight": 5}}}
    new: dict[str, Any] = {"services": {"a": {"max_in_flight": 6}}, "loop_types": {"x": {}}}
    there = changes(LimitsConfig.load(old), LimitsConfig.load(new))
    back = changes(LimitsConfig.load(new), LimitsConfig.load(old))
    assert len(there) == len(back) == 3
    assert all(Change(each.scope, each.key, each.new, each.old) in back for each in there)
