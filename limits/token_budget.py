"""A token budget is how much of its token limits a call may reserve before anybody knows what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .limit import Unit
from .priority import Priority
from .scope import TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .config import LimitsConfig
    from .scope import TaskScopes
    from .scope_table import ScopeTable

DEFAULT_ESTIMATE = 1_000
CACHE_SIZE = 4_096


class TokenBudget(NamedTuple):
    """The budget of one call.

    Parameters
    ----------
    capacity:
        The least that a token limit of its scopes holds.
    estimate:
        What it reserves where nothing is given or learned: the `estimate` of its narrowest scope that states one.
    """

    capacity: int
    estimate: int

    def reserve(self, learned: int | None = None) -> int:
        """The tokens to reserve; never more than a limit holds, or the call could never run."""
        return min(self.estimate if learned is None else learned, self.capacity)


class TokenBudgets:
    """The token budgets of one configuration.

    Parameters
    ----------
    config:
        The limits.

    Attributes
    ----------
    are_any:
        Whether any limit counts tokens.
    """

    def __init__(self, config: LimitsConfig) -> None:
        self.config = config
        self.are_any = any(limit.unit is Unit.TOKENS for limits in config.definitions().values() for limit in limits)
        self._found: dict[tuple[TaskScopes, int], TokenBudget | None] = {}

    def __len__(self) -> int:
        return len(self._found)

    def of_call(self, scopes: TaskScopes, priority: int = Priority.NORMAL) -> TokenBudget | None:
        """The budget of a call; None if no limit of its scopes counts tokens. What is reserved is not in it below its priority."""
        call = (scopes, priority)
        if call not in self._found:
            # Loops come and go, so what is remembered has a bound.
            if len(self._found) >= CACHE_SIZE:
                self._found.clear()
            self._found[call] = self._of_tables([*self._tables(scopes)], priority)
        return self._found[call]

    @staticmethod
    def _of_tables(tables: list[ScopeTable], priority: int) -> TokenBudget | None:
        capacities = [limit.capacity_for(priority) for table in tables for limit in table.limits() if limit.unit is Unit.TOKENS]
        if not capacities:
            return None
        stated = [table.token_limits.estimate for table in tables if table.token_limits.estimate is not None]
        return TokenBudget(min(capacities), stated[-1] if stated else DEFAULT_ESTIMATE)

    def _tables(self, scopes: TaskScopes) -> Iterator[ScopeTable]:
        """The tables of the call's scopes, the widest first; a scope that is not named has its template's."""
        config = self.config
        yield config.global_
        if service := config.services.get(scopes.service):
            yield service
            yield from _named(service.endpoints, scopes.endpoint)
        yield from _named(config.loop_types, scopes.loop_type)
        yield from _named(config.loops, scopes.loop)


def _named(tables: Mapping[str, ScopeTable], name: str) -> Iterator[ScopeTable]:
    table = tables.get(name) or tables.get(TEMPLATE)
    if name and table is not None:
        yield table
