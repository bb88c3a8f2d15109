"""An account book finds the account of a call: the limits of all its scopes, of a given configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from .account import Account
from .errors import InvalidScope, UnknownService
from .outage import CLOSED, OnUnreachable, Policy
from .priority import Priority
from .scope import GLOBAL, TaskScopes, template_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config import LimitsConfig
    from .limit import Limit

CACHE_SIZE = 4_096
_KINDS = ("service", "endpoint", "loop_type", "loop")
_KNOWN_KEYS = frozenset(_KINDS)

Names: TypeAlias = tuple[str, str, str, str]
"""Service, endpoint, loop type and loop of a call; `""` for what it has not."""


class AccountBook:
    """The accounts of one configuration. What was looked up is remembered, up to a bound.

    Parameters
    ----------
    config:
        The limits.
    """

    def __init__(self, config: LimitsConfig) -> None:
        self.config = config
        self._definitions = config.definitions()
        self._accounts: dict[tuple[Names, int], Account] = {}
        self._has_reserves = any(limit.reserved for limits in self._definitions.values() for limit in limits)
        self._policies = {
            name: Policy(OnUnreachable(table.on_unreachable), table.local_share) for name, table in config.services.items()
        }

    def __len__(self) -> int:
        return len(self._accounts)

    def of_call(self, names: Names, priority: int = Priority.NORMAL) -> Account:
        """The account of a call, without what is reserved for priorities above its own.

        Raises
        ------
        UnknownService
            The configuration does not name the service.
        InvalidScope
            A name is not possible.
        """
        # Where nothing is reserved, all priorities share one account.
        key = (names, priority if self._has_reserves else Priority.NORMAL)
        account = self._accounts.get(key)
        if account is None:
            _check_text(names)
            scopes = TaskScopes(*names)
            self.config.check_service(scopes.service, scopes.endpoint)
            stated = [(scope, limit) for scope in scopes.names for limit in self._limits_of(scope)]
            limits = [(scope, limit.open_to(priority)) for scope, limit in stated]
            reports_to = scopes.service if self.config.counts_outcomes(scopes.service) else ""
            is_below = any(limit.reserved and priority < limit.reserved_for for _, limit in stated)
            account = Account(limits, scopes.names, scopes.called, reports_to=reports_to, is_below=is_below)
            # Loops come and go (a loop may be a tenant, or a run of an agent), so what is remembered has a bound.
            if len(self._accounts) >= CACHE_SIZE:
                self._accounts.clear()
            self._accounts[key] = account
        return account

    def policy_of(self, service: str) -> Policy:
        """What becomes of the calls of a service while the server is away; `""` for those of none."""
        return self._policies.get(service, CLOSED)

    def of_scope(self, scope: str) -> Account:
        """The limits of one scope alone, by its name, such as `service:llm_api`.

        Raises
        ------
        UnknownService, InvalidScope
            There is no such service, or no such kind of scope.
        """
        check_scope(scope, self.config)
        return Account((scope, limit) for limit in self._limits_of(scope))

    def _limits_of(self, scope: str) -> tuple[Limit, ...]:
        # As parts/definitions.lua finds them: a scope that is named, even with no limits, has no template.
        if scope in self._definitions:
            return self._definitions[scope]
        return self._definitions.get(template_of(scope) or "", ())


def check_scope(scope: str, config: LimitsConfig) -> None:
    """Make sure that there can be a scope of this name.

    Raises
    ------
    UnknownService, InvalidScope
        There is no such service, or no such kind of scope.
    """
    kind, _, name = scope.partition(":")
    if scope != GLOBAL and (kind not in _KINDS or not name):
        raise InvalidScope("scope", scope, "use 'global', 'service:…', 'endpoint:…/…', 'loop_type:…' or 'loop:…'")
    if kind in ("service", "endpoint"):
        service = name.partition("/")[0]
        if service not in config.services:
            raise UnknownService(service, config.services)


def _check_text(names: tuple[object, ...]) -> None:
    for kind, name in zip(_KINDS, names, strict=True):
        if not isinstance(name, str):
            raise TypeError(f"{kind}: {name!r} is not allowed; use text")


def names_of(context: TaskScopes | Mapping[str, str] | None, service: str, endpoint: str, loop_type: str, loop: str) -> Names:
    """The names of a call, given as one context or one by one.

    Raises
    ------
    TypeError
        Names given both ways, or a context with another key than `service`, `endpoint`, `loop_type`, `loop`.
    """
    if context is None:
        return (service, endpoint, loop_type, loop)
    if service or endpoint or loop_type or loop:
        raise TypeError("context: give either a context or names, not both")
    if isinstance(context, TaskScopes):
        return (context.service, context.endpoint, context.loop_type, context.loop)
    if unknown := context.keys() - _KNOWN_KEYS:
        raise TypeError(f"context: unknown key {min(unknown, key=repr)!r}; use {', '.join(_KINDS)}")
    get = context.get
    return (get("service", ""), get("endpoint", ""), get("loop_type", ""), get("loop", ""))
