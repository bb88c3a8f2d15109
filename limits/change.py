"""A change is one difference between two configurations, in the words of `limits.toml`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from .scope import GLOBAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .config import LimitsConfig

_LIMIT = re.compile(r"(token_limits\.)?(requests_per_|per_|windows\[|burst_capacity|max_in_flight|shadow)")
# Tables whose presence says something, also where they say nothing but defaults.
_SWITCHES = ("breaker", "adaptive", "retry_budget")
_KINDS = {"services": "service", "loop_types": "loop_type", "loops": "loop"}


@dataclass(frozen=True, slots=True)
class Change:
    """One key of one scope that is different.

    Parameters
    ----------
    scope:
        Its name, such as `service:llm_api`; for another table of the file, the table's name, such as `tasks`.
    key:
        As `limits.toml` has it, dots leading into tables: `requests_per_minute`, `token_limits.per_minute`,
        `windows[10s]`. `""` for the scope itself, which is named from now on, or no more.
    old, new:
        The values; None for none.
    """

    scope: str
    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if not self.key:
            return f"{self.scope}: {'named' if self.old is None else 'not named any more'}"
        return f"{self.scope} {self.key}: {_shown(self.old)} -> {_shown(self.new)}"


def changes(old: LimitsConfig, new: LimitsConfig) -> tuple[Change, ...]:
    """What is different in `new`, scope by scope, in the order of their first naming."""
    before, after = dict(_scopes(old.to_dict())), dict(_scopes(new.to_dict()))
    found: list[Change] = []
    for scope in dict.fromkeys((*before, *after)):
        keys_before, keys_after = before.get(scope), after.get(scope)
        if (keys_before is None) != (keys_after is None) and scope not in (GLOBAL, "tasks"):
            found.append(Change(scope, "", keys_before, keys_after))
        one, other = keys_before or {}, keys_after or {}
        found += (
            Change(scope, key, one.get(key), other.get(key))
            for key in dict.fromkeys((*one, *other))
            if one.get(key) != other.get(key)
        )
    return tuple(found)


def settings_of(config: LimitsConfig) -> dict[str, dict[str, Any]]:
    """What the tables of scopes say beside limits, such as `breaker.cool_down`, by scope and key."""
    return {
        scope: {key: value for key, value in keys.items() if not _LIMIT.match(key)}
        for scope, keys in _scopes(config.to_dict())
        if scope != "tasks"
    }


def _scopes(tables: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each scope's keys and values."""
    for table, content in tables.items():
        if table not in _KINDS:
            yield table, dict(_leaves(content)) if table != "tasks" else content
            continue
        for name, keys in content.items():
            yield f"{_KINDS[table]}:{name}", dict(_leaves(keys))
            for endpoint, endpoint_keys in keys.get("endpoints", {}).items():
                yield f"endpoint:{name}/{endpoint}", dict(_leaves(endpoint_keys))


def _leaves(table: Mapping[str, Any], way: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if key in _SWITCHES:
            yield f"{way}{key}", True
        if isinstance(value, Mapping):
            if key != "endpoints":
                yield from _leaves(cast("Mapping[str, Any]", value), f"{way}{key}.")
        elif key == "windows":
            yield from ((f"{way}windows[{each['per']}]", _window(each)) for each in value)
        else:
            yield f"{way}{key}", value


def _window(stated: Mapping[str, Any]) -> Any:
    """Its limit alone, if it says no more."""
    others = {key: value for key, value in stated.items() if key != "per"}
    return others if others.keys() > {"limit"} else others["limit"]


def _shown(value: object) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
