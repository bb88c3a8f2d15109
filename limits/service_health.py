"""How a service does, as its breaker and its adaptive share see it at one moment."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .adaptive import AdaptiveState
from .breaker import BreakerState, Cell, Circuit
from .errors import UnknownService
from .limit import SECOND_US, format_duration
from .lua import LIMITS_LUA, Script
from .retry_ledger import RetryUse, retry_state, retry_use

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .config import LimitsConfig
    from .scope_table import ServiceTable

HEALTH = Script(LIMITS_LUA / "health.lua")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """How one service does.

    Parameters
    ----------
    service:
        Its name.
    circuit:
        Where its breaker is; None if it has none.
    since:
        When the breaker came there; None if it never opened.
    opens_in_s:
        Seconds until an open breaker lets probes through; 0.0 if it is not open.
    calls, failure_ratio:
        Calls that ended in the breaker's window, and the share of them that failed.
    factor:
        The share of its limits that its adaptive share leaves; 1.0 without one.
    share:
        The share that may be used altogether: the factor, times the ramp after the breaker closed.
    retry_use:
        How much of its retry budget is used; None if it has none.
    """

    service: str
    circuit: Circuit | None = None
    since: datetime | None = None
    opens_in_s: float = 0.0
    calls: int = 0
    failure_ratio: float = 0.0
    factor: float = 1.0
    share: float = 1.0
    retry_use: RetryUse | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the service's limits is held back, and tasks that fail may be retried."""
        is_spent = self.retry_use is not None and self.retry_use.is_spent
        return self.circuit in (None, Circuit.CLOSED) and self.share >= 1 and not is_spent

    def __str__(self) -> str:
        words = [f"service:{self.service}: breaker {self.circuit}" if self.circuit else f"service:{self.service}: no breaker"]
        if self.since is not None:
            words.append(f"since {self.since:%Y-%m-%d %H:%M:%S} UTC")
        if self.opens_in_s:
            words.append(f"probes in {self.opens_in_s:.1f} s")
        if self.calls:
            words.append(f"{self.failure_ratio:.0%} of {self.calls} calls failed")
        if self.share < 1:
            words.append(f"{self.share:.0%} of its limits")
        if use := self.retry_use:
            words.append(f"{use.retries} of {use.allowed} retries in {format_duration(use.window_us)}")
        return ", ".join(words)


def service_table(config: LimitsConfig, service: str) -> ServiceTable:
    """The table of a service. Raises `UnknownService` where there is none."""
    if service not in config.services:
        raise UnknownService(service, config.services)
    return config.services[service]


def health_in(reply: Sequence[Any], service: str, table: ServiceTable) -> ServiceHealth:
    """What health.lua said of a service with these limits."""
    now_us = int(reply[0])
    stored_breaker, stored_share = breaker_state(reply), adaptive_state(reply)
    factor = share = table.adaptive.share().current(stored_share, now_us).factor if table.adaptive else 1.0
    use = None
    if table.retry_budget is not None:
        use = retry_use(table.retry_budget.budget(), retry_state(reply[4]), now_us)
    if table.breaker is None:
        return ServiceHealth(service, factor=factor, share=factor, retry_use=use)
    breaker = table.breaker.breaker()
    state = breaker.current(stored_breaker, now_us)
    share *= breaker.share(state, now_us)
    return ServiceHealth(
        service,
        state.circuit,
        _EPOCH + timedelta(microseconds=state.since_us) if state.since_us else None,
        max(0, state.until_us - now_us) / SECOND_US if state.circuit is Circuit.OPEN else 0.0,
        breaker.calls_of(state, now_us),
        breaker.failure_ratio_of(state, now_us),
        factor,
        share,
        use,
    )


def breaker_state(reply: Sequence[Any]) -> BreakerState:
    """What is stored of a breaker, from what health.lua said."""
    _, record, packed, probes, _ = reply
    fields = _fields(record)
    return BreakerState(
        Circuit(fields.get("circuit", "closed")),
        int(fields.get("circuit_since", 0)),
        int(fields.get("circuit_until", 0)),
        int(fields.get("trips", 0)),
        int(fields.get("passed") or 0),
        tuple(Cell(*map(int, cell)) for cell in struct.iter_unpack("<ddd", packed)),
        {holder.decode(): int(deadline) for holder, deadline in zip(probes[::2], probes[1::2], strict=True)},
    )


def adaptive_state(reply: Sequence[Any]) -> AdaptiveState:
    """What is stored of an adaptive share, from what health.lua said."""
    fields = _fields(reply[1])
    if "factor" not in fields:
        return AdaptiveState()
    return AdaptiveState(float(fields["factor"]), int(fields["cut_at"]), int(fields["seen_at"]))


def _fields(record: Sequence[bytes]) -> Mapping[str, str]:
    return {name.decode(): value.decode() for name, value in zip(record[1::2], record[2::2], strict=True)}
