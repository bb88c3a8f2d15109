"""An amendment changes some limits of one scope, in the words of `limits.toml`, and leaves the others as they are.

amended(config, "service:llm_api", {"requests_per_minute": 30, "token_limits.per_minute": None})
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from .config import LimitsConfig
from .config_problems import unknown_key
from .errors import ConfigError, InvalidScope, UnknownService
from .order_table import GlobalTable, LoopTable
from .quotation import quote, quote_path
from .scope import GLOBAL, template_of
from .scope_table import ScopeTable, ServiceTable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_TABLES = {"loop_type": "loop_types", "loop": "loops"}
_MODELS: dict[str, type[ScopeTable]] = {GLOBAL: GlobalTable, "service": ServiceTable, "loop": LoopTable}


def amended(config: LimitsConfig, scope: str, settings: Mapping[str, Any] | None) -> LimitsConfig:
    """`config` with other limits on one scope.

    A scope that is named for the first time begins with what its template gives it. Dots lead into a table
    (`token_limits.per_minute`).

    Parameters
    ----------
    config:
        The limits as they are.
    scope:
        Its name: `global`, `service:llm_api`, `endpoint:llm_api/chat`, `loop_type:planner`, `loop:planner-7`.
    settings:
        Values by key, as in `limits.toml`; None as a value takes the key away. None for all: the scope is not
        named any more.

    Raises
    ------
    ConfigError
        A key or a value is not possible, or the limits would not fit each other. One line per mistake.
    UnknownService
        An endpoint of a service that the limits do not name.
    InvalidScope
        There is no such kind of scope.
    """
    tables = config.to_dict()
    siblings, name, path = _place(tables, scope)
    if settings is None:
        siblings.pop(name, None)
        return LimitsConfig.load(tables)
    model = _MODELS.get(scope.partition(":")[0], ScopeTable)
    if problems := [problem for key in settings if (problem := _unknown(model, key, path))]:
        raise ConfigError(problems)
    if name not in siblings:
        template = (template_of(scope) or "").rpartition("/" if scope.startswith("endpoint:") else ":")[2]
        siblings[name] = dict(siblings.get(template, {}))
    for key, value in settings.items():
        _put(siblings[name], key.split("."), value)
    return LimitsConfig.load(tables)


def _place(tables: dict[str, Any], scope: str) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """The table that holds the scope's own, its name there, and the way to it."""
    kind, _, name = scope.partition(":")
    if scope == GLOBAL:
        return tables, GLOBAL, (GLOBAL,)
    if kind == "service" and name:
        return tables.setdefault("services", {}), name, ("services", name)
    if kind == "endpoint" and "/" in name:
        service, _, endpoint = name.partition("/")
        services: dict[str, Any] = tables.get("services", {})
        if service not in services:
            raise UnknownService(service, services)
        return services[service].setdefault("endpoints", {}), endpoint, ("services", service, "endpoints", endpoint)
    if kind in _TABLES and name:
        return tables.setdefault(_TABLES[kind], {}), name, (_TABLES[kind], name)
    raise InvalidScope("scope", scope, "use 'global', 'service:…', 'endpoint:…/…', 'loop_type:…' or 'loop:…'")


def _unknown(model: type[BaseModel], key: str, path: tuple[str, ...]) -> str:
    """What is wrong with a key; `""` if nothing is."""
    names = key.split(".")
    for at, name in enumerate(names):
        known: Collection[str] = [each for each in model.model_fields if each != "endpoints"]
        if name == "endpoints":
            return f"{quote_path((*path, name))}: this is no setting; amend the scope of the endpoint itself, 'endpoint:service/endpoint'"
        if name not in known:
            return f"{quote_path((*path, *names[: at + 1]))}: {unknown_key(name, known)}"
        if at + 1 < len(names):
            inner = _table_of(model.model_fields[name].annotation)
            if inner is None:
                return f"{quote_path((*path, *names))}: {quote(name)} is no table; give it a value"
            model = inner
    return ""


def _table_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that is a table, or None; a table may be left out (`Table | None`)."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None


def _put(table: dict[str, Any], names: list[str], value: object) -> None:
    *way, last = names
    for name in way:
        table = table.setdefault(name, {})
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value
