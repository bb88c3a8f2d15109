"""The limits of a realm, as `limits.toml` states them.

    config = LimitsConfig.load("limits.toml")
    config.definitions()                          # scope name -> its limits
    config.scopes_of("proj.tasks.complete")       # ("llm_api", "chat")

A config never changes; a change of limits is a new config.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from .config_file import read_config_file
from .config_problems import problem_lines
from .degradation import Degradation
from .errors import ConfigError, UnknownService
from .order_table import GlobalTable, LoopTables
from .quotation import one_line, quote
from .scope import GLOBAL
from .scope_name import ServiceName
from .scope_table import ScopeTables, ServiceTable, Table
from .task_mapping import Endpoints, TaskMapping, TaskPattern, TaskTarget

if TYPE_CHECKING:
    from .backlog_table import BacklogTable
    from .limit import Limit
    from .scope_table import ScopeTable

_DIGEST_LENGTH = 16


class LimitsConfig(Table):
    """Which limits each scope has, and which service each task calls. Made by `load`.

    Parameters
    ----------
    global_:
        The limits of the whole realm; the table `[global]`.
    services:
        Tables by service, with the service's endpoints.
    loop_types, loops:
        Tables by name; `"*"` is the template for each one that is not named.
    tasks:
        `"service"` or `"service/endpoint"`, by task name or glob.
    """

    # In Python `global` cannot be an argument; in TOML, `load` knows no other name.
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    global_: GlobalTable = Field(default=GlobalTable(), validation_alias=GLOBAL, serialization_alias=GLOBAL)
    services: Annotated[Mapping[ServiceName, ServiceTable], AfterValidator(dict)] = {}
    loop_types: ScopeTables = {}
    loops: LoopTables = {}
    tasks: Annotated[Mapping[TaskPattern, TaskTarget], AfterValidator(dict)] = {}

    @classmethod
    def load(cls, source: str | os.PathLike[str] | Mapping[str, Any] | LimitsConfig) -> LimitsConfig:
        """The limits that `source` states.

        Parameters
        ----------
        source:
            The path of a TOML file, its tables as a dict, or a config, which is returned as it is.

        Raises
        ------
        ConfigError
            `problems` lists every mistake, one line each; a file's name precedes each line.
        """
        match source:
            case LimitsConfig():
                return source
            case Mapping():
                return cls._from_tables(source)
            case str() | os.PathLike():
                try:
                    return cls._from_tables(read_config_file(source))
                except ConfigError as error:
                    name = one_line(os.fspath(source))
                    raise ConfigError(f"{name}: {problem}" for problem in error.problems) from None
            case _:
                raise ConfigError([f"limits: {quote(source)} is not allowed; use a path, a dict or a LimitsConfig"])

    @classmethod
    def from_json(cls, text: str | bytes) -> LimitsConfig:
        """The limits that `to_json` wrote. Raises `ConfigError` as `load` does."""
        try:
            tables = json.loads(text)
        except (ValueError, RecursionError):
            raise ConfigError(["limits: this is not JSON; store what to_json() returns"]) from None
        if not isinstance(tables, dict):
            raise ConfigError([f"limits: {quote(tables)} is not allowed; store what to_json() returns"])
        return cls.load(cast("dict[str, Any]", tables))

    @classmethod
    def _from_tables(cls, tables: Mapping[str, Any]) -> LimitsConfig:
        tables = dict(tables)
        try:
            return cls.model_validate(tables, by_alias=True, by_name=False, context=_endpoints_in(tables))
        except ValidationError as error:
            keys = [GLOBAL if key == "global_" else key for key in cls.model_fields]
            raise ConfigError(problem_lines(error, keys)) from None

    def to_dict(self) -> dict[str, Any]:
        """Tables that `load` reads back to an equal config; what is not limited is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def to_json(self) -> str:
        """The same as canonical JSON: equal configs give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @cached_property
    def digest(self) -> str:
        """Names the content: 16 hex digits, equal for equal configs on every machine."""
        return sha256(self.to_json().encode()).hexdigest()[:_DIGEST_LENGTH]

    def __hash__(self) -> int:
        return hash(self.digest)

    def definitions(self) -> dict[str, tuple[Limit, ...]]:
        """The limits of each scope, by scope name, templates (`loop:*`) included.

        Every scope that the config names is there, so that it is known, even with no limits of its own;
        `global` is there when it has limits.
        """
        found = {scope: table.limits() for scope, table in self._tables().items()}
        if not found[GLOBAL]:
            del found[GLOBAL]
        return found

    def backlogs(self) -> dict[str, BacklogTable]:
        """The caps on what waits, by scope name, templates included."""
        named = self._tables()
        return {scope: table.backlog for scope, table in named.items() if table.backlog is not None}

    def _tables(self) -> dict[str, ScopeTable]:
        """Each scope's table, by scope name, templates included."""
        found: dict[str, ScopeTable] = {GLOBAL: self.global_}
        for service, table in self.services.items():
            found[f"service:{service}"] = table
            found |= {f"endpoint:{service}/{name}": each for name, each in table.endpoints.items()}
        found |= {f"loop_type:{name}": table for name, table in self.loop_types.items()}
        return found | {f"loop:{name}": table for name, table in self.loops.items()}

    def order(self) -> dict[str, dict[str, float]]:
        """What says in which order work is served, by scope.

        `ageing`: microseconds in which waiting work gains a priority level. `stretch`: how far a loop's virtual time
        goes for each unit that it is served, the least being 1; that of `global` holds for a loop that is not named.
        """
        heaviest = max((table.fair_weight for table in self.loops.values()), default=1)
        found: dict[str, dict[str, float]] = {}
        if heaviest > 1:
            found = {f"loop:{name}": {"stretch": heaviest / table.fair_weight} for name, table in self.loops.items()}
            found[GLOBAL] = {"stretch": heaviest}
        if self.global_.ageing_us is not None:
            found.setdefault(GLOBAL, {})["ageing"] = self.global_.ageing_us
        return found

    def scopes_of(self, task_name: str) -> tuple[str, str]:
        """Service and endpoint of a task by the table `[tasks]`; `""` for what it has not."""
        return self._task_mapping.find(task_name)

    def check_service(self, service: str, endpoint: str = "", *, task: str = "") -> None:
        """Raise `UnknownService` unless the config names the service.

        An endpoint that is not named is no mistake: it has no limits of its own. One without a service is.

        Parameters
        ----------
        service, endpoint:
            As the task states them; `""` for none.
        task:
            The task's name, for the message.
        """
        if (service or endpoint) and service not in self.services:
            raise UnknownService(service, self.services, task=task)

    def counts_outcomes(self, service: str) -> bool:
        """Whether the service has a breaker or an adaptive share, which want to know how its calls end."""
        table = self.services.get(service)
        return table is not None and bool(table.breaker or table.adaptive)

    def has_retry_budget(self, service: str) -> bool:
        """Whether the retries of the service's tasks are bounded together."""
        table = self.services.get(service)
        return table is not None and table.retry_budget is not None

    def degradation_of(self, service: str) -> Degradation:
        """What becomes of new work of the service under pressure."""
        table = self.services.get(service)
        return () if table is None else table.degradation

    @cached_property
    def _task_mapping(self) -> TaskMapping:
        return TaskMapping(self.tasks)


def _endpoints_in(tables: Mapping[str, Any]) -> Endpoints:
    """The services and endpoints that the tables name, whether or not their limits are valid.

    So a mistake in one service neither hides the mistakes of `[tasks]` nor makes new ones there.
    """
    services = _table(tables.get("services"))
    return {name: _table(_table(service).get("endpoints")).keys() for name, service in services.items()}


def _table(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {}
    return {key: each for key, each in cast("Mapping[object, Any]", value).items() if isinstance(key, str)}
