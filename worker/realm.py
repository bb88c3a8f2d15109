"""A realm: its limits, what holds its scopes back, and what is known of its work. Knows no app."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

from ..limits.account_book import check_scope
from ..limits.config import LimitsConfig
from ..limits.estimate_book import Estimate, EstimateBook
from ..limits.hierarchical import HierarchicalLimiter
from ..limits.limits_version import LimitsVersion
from ..limits.publication import KEPT_VERSIONS
from ..limits.registry import LimitsRegistry
from ..limits.regulator import Regulator, RegulatorState
from ..limits.retry_ledger import RetryLedger
from ..limits.server import UNAVAILABLE
from ..limits.service_health import ServiceHealth
from ..limits.transition import Transition, transitions
from ..limits.usage import Usage
from ..limits.view import LimitsView
from ..scheduler.forecast_book import ForecastBook
from ..scheduler.pressure_book import PressureBook

if TYPE_CHECKING:
    from ..limits.headers import Headers
    from ..limits.keys import Keys
    from ..limits.lua import Client
    from ..limits.observation import Observation


class Realm(ABC):
    """What an application, its operators and its commands ask of a realm.

    Attributes
    ----------
    keys:
        The realm's keys.
    limits:
        What the application brings; None for nothing.
    client:
        On the server where the realm lives. Whoever derives from this makes it when it is first asked for.
    program:
        The name under which the application brings its limits.
    """

    keys: Keys
    limits: LimitsConfig | None

    @cached_property
    @abstractmethod
    def client(self) -> Client: ...

    @property
    @abstractmethod
    def program(self) -> str: ...

    @cached_property
    def view(self) -> LimitsView:
        return LimitsView(self.registry, self.limits, program=self.program)

    @cached_property
    def registry(self) -> LimitsRegistry:
        """The definitions that are in force, their history, and what changes them."""
        return LimitsRegistry(self.client, self.keys)

    def apply_limits(
        self,
        config: str | PathLike[str] | Mapping[str, Any] | LimitsConfig,
        *,
        expected_version: int | None = None,
        by: str = "",
        note: str = "",
    ) -> LimitsVersion:
        """Put limits in force for the whole realm, waiting work included, until the app itself brings new ones.

        The options and the errors are those of `LimitsRegistry.apply`.
        """
        self.bring_first()
        return self.registry.apply(config, expected_version=expected_version, by=by, note=note)

    def limits_history(self, most: int = KEPT_VERSIONS) -> tuple[LimitsVersion, ...]:
        """The last versions of the limits, the one in force first."""
        return self.registry.history(most)

    def bring_first(self) -> None:
        """Bring what the app brings if nothing is in force yet, so that it does not come later and undo what is applied now."""
        if self.limits is not None and not self.registry.version():
            self.view.refresh()

    def usage(self, scope: str) -> Usage:
        """How full each limit of a scope is, such as `global`, `service:llm_api` or `loop:planner-7`.

        Raises
        ------
        UnknownService, InvalidScope
            There is no such service, or no such kind of scope.
        """
        return self.limiter.usage(scope)

    def estimates(self) -> dict[str, Estimate]:
        """What is learned of the cost of tasks in tokens, by task name: those that `current.settle` has spoken for."""
        return self.estimate_book.all()

    @cached_property
    def estimate_book(self) -> EstimateBook:
        return EstimateBook(self.client, self.keys)

    @cached_property
    def forecasts(self) -> ForecastBook:
        """When tasks were expected to start, and how far from the truth that was."""
        return ForecastBook(self.client, self.keys)

    @cached_property
    def pressures(self) -> PressureBook:
        """What new work would meet at its service."""
        return PressureBook(self.client, self.keys)

    def health(self, service: str) -> ServiceHealth:
        """How a service does, as its breaker and its adaptive share see it. Raises `UnknownService`."""
        return self.limiter.health(service)

    def transitions(self, *, most: int = 100) -> tuple[Transition, ...]:
        """The latest transitions of the breakers, newest first."""
        return transitions(self.client, self.keys, most=most)

    def counts_outcomes(self, service: str | None) -> bool:
        """Whether somebody wants to know how tasks of the service end. The limits may be a second old."""
        if not service:
            return False
        config = self.view.config()
        return config.counts_outcomes(service) or config.has_retry_budget(service)

    def spend_retry(self, service: str | None) -> str:
        """Take one retry out of the budget of a service. Why there is none, or `""`; none is missing where Redis cannot be asked."""
        if not service or not self.view.config().has_retry_budget(service):
            return ""
        try:
            grant = RetryLedger(self.client, self.keys).spend(service)
        except UNAVAILABLE:
            return ""
        return "" if grant.granted else f"the retry budget of service:{service} is spent, {grant.retries} of {grant.allowed}"

    def observe(self, service: str, headers: Headers, status: int | None = None, *, endpoint: str = "") -> Observation:
        """Take in what a response says of its service's limits; see `HierarchicalLimiter.observe`."""
        return self.limiter.observe(service, headers, status, endpoint=endpoint)

    def pause(self, scope: str, *, by: str = "") -> RegulatorState:
        """Hold back all work of a scope, as `usage` names it, until `resume`. What is released already runs.

        Raises
        ------
        UnknownService, InvalidScope
            There is no such service, or no such kind of scope.
        """
        check_scope(scope, self.view.refresh())
        return self.regulator.pause(scope, by=by)

    def resume(self, scope: str) -> RegulatorState:
        """Lift the pause of a scope; where there is none, open what is closed. What waits goes on at once."""
        check_scope(scope, self.view.refresh())
        return self.regulator.resume(scope)

    @cached_property
    def regulator(self) -> Regulator:
        """Pauses and closes scopes, and says which are held."""
        return Regulator(self.client, self.keys)

    @cached_property
    def limiter(self) -> HierarchicalLimiter:
        """A limiter on the same budgets, for calls that are no tasks."""
        return HierarchicalLimiter(self.client, self.limits, realm=self.keys.realm, program=self.program)
