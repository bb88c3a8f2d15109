"""Config problems: what pydantic found wrong, in words that a writer of `limits.toml` can act on.

One line per mistake: `path: what is wrong; what to do`. Nothing in it speaks of pydantic or of Python types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backlog_table import BacklogTable
from .breaker_table import AdaptiveTable, BreakerTable
from .degradation import DegradationStep
from .errors import InvalidScope
from .order_table import GlobalTable, LoopTable
from .priority_reserve import A_RESERVE, Reserve
from .quotation import closest, one_line, quote, quote_path
from .retry_budget_table import RetryBudgetTable
from .scope_table import MAX_COUNT, BurstWithoutRateError, ScopeTable, ServiceTable, TokenLimits, Window

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_Path = tuple[int | str, ...]

_WHOLE_NUMBER = "a whole number of at least 1"
_STEP = '{ wait = "1m", shed_below = "NORMAL" }'
_REMEDIES_OF_SERVICES = {"on_unreachable": "'closed', 'open' or 'local'", "local_share": "a number above 0, and at most 1"}
_REMEDIES_OF_STEPS: dict[int | str, str] = {
    "": f"a list, such as [{_STEP}]",
    "step": f"a step, such as {_STEP}",
    "breaker": "'open'",
    "hold": "true",
    "degrade_to": "the name of a task",
}
_WINDOW = 'a window, such as { limit = 5, per = "10s" }'
_REMEDIES = {
    "int_type": _WHOLE_NUMBER,
    "greater_than_equal": _WHOLE_NUMBER,
    "less_than_equal": f"a whole number of at most {MAX_COUNT}",
    "model_type": "a table, such as { requests_per_minute = 60 }",
    "tuple_type": 'a list, such as [{ limit = 5, per = "10s" }]',
    "string_type": "text",
    "bool_type": "true or false",
    "string_unicode": "text that UTF-8 can write",
}
_TABLES = {
    "token_limits": "a table, such as { per_minute = 100_000 }",
    "backlog": "a table, such as { limit = 10_000 }",
    "breaker": "true, or a table such as { failure_ratio = 0.5 }",
    "adaptive": "true, or a table such as { floor = 0.1 }",
    "retry_budget": "a share such as 0.1, or a table such as { ratio = 0.1 }",
}
_INNER = {
    "backlog": BacklogTable,
    "reserve": Reserve,
    "breaker": BreakerTable,
    "adaptive": AdaptiveTable,
    "retry_budget": RetryBudgetTable,
}
_OWN_KEYS = {
    owner: table.model_fields.keys() - ScopeTable.model_fields.keys()
    for owner, table in (("[global]", GlobalTable), ("a loop", LoopTable), ("a service", ServiceTable))
}
_KEY_MARK = "[key]"


def problem_lines(error: ValidationError, root_keys: Collection[str]) -> list[str]:
    """One line per mistake.

    Parameters
    ----------
    error:
        What validation of the limits raised.
    root_keys:
        The keys that the limits know at the top.
    """
    found = error.errors(include_url=False)
    tables_with_unknown_keys = {each["loc"][:-1] for each in found if each["type"] == "extra_forbidden"}
    return [
        f"{quote_path(_path(each)) or 'limits'}: {one_line(text)}"
        for each in found
        # The rate that the burst lacks is most likely the key that is misspelled.
        if not (isinstance(_cause(each), BurstWithoutRateError) and each["loc"][:-1] in tables_with_unknown_keys)
        for text in _texts(each, root_keys)
    ]


def _texts(error: ErrorDetails, root_keys: Collection[str]) -> Iterator[str]:
    path, cause = _path(error), _cause(error)
    if isinstance(cause, InvalidScope):
        yield f"this name is not possible; {cause.remedy}"
    elif cause is not None:
        yield from str(cause).splitlines()
    elif error["type"] == "extra_forbidden":
        yield unknown_key(str(path[-1]), _keys_at(path[:-1], root_keys))
    elif error["type"] == "missing":
        yield f"this key is missing; use {A_RESERVE if 'reserve' in path[-2:] else _WINDOW}"
    elif error["type"] == "invalid_key" or _is_about_a_key(error):
        yield "this key is not possible; use text"
    else:
        yield f"{quote(error['input'])} is not allowed; use {_remedy(error)}"


def _remedy(error: ErrorDetails) -> str:
    match error["loc"]:
        case ("tasks", _) if error["type"] == "string_type":
            return "'service' or 'service/endpoint'"
        case (*_, "windows", int()):
            return _WINDOW
        case ("services", _, "degradation", *place):
            return _REMEDIES_OF_STEPS.get(place[-1] if place else "", _REMEDIES_OF_STEPS["step"])
        case ("tasks",):
            return 'a table, such as { "proj.tasks.*" = "llm_api" }'
        case ("services", _, str(key)) if key in _REMEDIES_OF_SERVICES:
            return _REMEDIES_OF_SERVICES[key]
        case ("services" | "loop_types" | "loops",) | ("services", _, "endpoints"):
            return "a table of tables, such as { name = { requests_per_minute = 60 } }"
        case ("global", key) | (_, _, key) | (_, _, "endpoints", _, key) if key in _TABLES:
            return _TABLES[key]
        case _:
            pass
    return _REMEDIES.get(error["type"], "a value of the kind that the documentation shows")


def unknown_key(key: str, known: Collection[str]) -> str:
    if meant := closest(key, known):
        return f"unknown key; did you mean {quote(meant)}?"
    if owner := next((owner for owner, keys in _OWN_KEYS.items() if key in keys), ""):
        return f"unknown key here; it is one of {owner}"
    return f"unknown key; use one of {', '.join(known)}"


def _keys_at(path: _Path, root_keys: Collection[str]) -> Collection[str]:
    """The keys that a table knows."""
    match path:
        case ():
            return root_keys
        case ("services", _):
            return ServiceTable.model_fields
        case ("global",):
            return GlobalTable.model_fields
        case ("loops", _):
            return LoopTable.model_fields
        case ("services", _, "endpoints", _) | ("loop_types", _):
            return ScopeTable.model_fields
        case ("services", _, "degradation", int()):
            return DegradationStep.model_fields
        case ("global", key) | (_, _, key) | (_, _, "endpoints", _, key) if key in _INNER:
            return _INNER[key].model_fields
        case (*_, int()):
            return Window.model_fields
        case _:
            return TokenLimits.model_fields


def _path(error: ErrorDetails) -> _Path:
    return error["loc"][:-1] if _is_about_a_key(error) else error["loc"]


def _is_about_a_key(error: ErrorDetails) -> bool:
    # pydantic marks an error in a key by one more element, which a key of that very name could be taken for.
    # Keys of tables stand at even depths (`services.x.endpoints.y`), so their marks stand at odd ones.
    path = error["loc"]
    return path[-1:] == (_KEY_MARK,) and len(path) % 2 == 1 and error["type"] != "extra_forbidden"


def _cause(error: ErrorDetails) -> Exception | None:
    return error.get("ctx", {}).get("error")
