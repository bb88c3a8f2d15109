"""The judge says of every call whether it kept the limits that the service publishes.

It keeps a sliding log, the one algorithm that needs no argument: remember every call, and count. For each window the
judge sums the units accepted in the half-open stretch (now - W, now]; a call that would lift the sum above the limit
of any window is a violation. It is refused, and charged to none. The judge shares no code with Turgor's own limiters,
so that a mistake there cannot hide here.

The judge has no clock. It judges arrivals, not departures: two calls sent W apart of which the first was held up on
its way arrive less than W apart, and that is a violation like any other. `Violation.early_by_s` tells such a case
(milliseconds) from a limiter that miscounts.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .judge_report import JudgeReport, ServiceReport, Violation
from .judged_window import SECOND_NS, JudgedWindow, Window

VIOLATIONS_KEPT = 20

WindowTable: TypeAlias = Mapping[str, Sequence[tuple[int, float, str]]]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a service, and who made it. `""` and None stand for what the caller did not say."""

    service: str
    endpoint: str = ""
    tokens: int = 0
    loop: str = ""
    loop_type: str = ""
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge said of one call.

    Parameters
    ----------
    accepted:
        Whether every window had room. A refused call is charged to none.
    window:
        The window that binds: of those that refused, the one that has room latest; else the one with the smallest
        share of its limit left. None for a service without limits.
    remaining, reset_after_ns:
        Units left in that window after this call, and the time until its oldest units leave.
    retry_after_ns:
        When the same call would pass if nobody else came: 0 when accepted, None when it costs more than the limit.
    violation:
        The details of a refusal.
    """

    accepted: bool
    window: Window | None = None
    remaining: int = 0
    reset_after_ns: int = 0
    retry_after_ns: int | None = 0
    violation: Violation | None = None


class Judge:
    """Hears every call of some services, decides, and keeps the record.

    Parameters
    ----------
    windows:
        For each service its windows, as (limit, seconds, "requests" or "tokens"). No windows: calls are only counted.

    Raises
    ------
    ValueError
        A window that is not valid; the message names it.
    """

    def __init__(self, windows: WindowTable) -> None:
        self._services = {name: _ServiceRecord(_windows_of(name, rows)) for name, rows in windows.items()}
        self._first_ns: int | None = None
        self._last_ns = 0
        self._worst: Violation | None = None
        self._violations: deque[Violation] = deque(maxlen=VIOLATIONS_KEPT)

    def windows_of(self, service: str) -> tuple[Window, ...] | None:
        """The published limits of a service; None when there is no such service."""
        record = self._services.get(service)
        return None if record is None else tuple(window.rule for window in record.windows)

    def hear(self, call: Call, now_ns: int) -> Verdict:
        """Judge one call. A time before the last one (two clients read out of order) counts as the last one.

        Raises
        ------
        KeyError
            No such service.
        """
        record = self._services[call.service]
        now_ns = self._last_ns = max(now_ns, self._last_ns)
        if self._first_ns is None:
            self._first_ns = now_ns
        record.arrive(call, now_ns)
        refusing = [window for window in record.windows if window.peek_excess(window.units_of(call.tokens), now_ns)]
        if not refusing:
            return record.accept(call, now_ns)
        record.refuse(refusing)
        verdict = _refusal(call, refusing, now_ns, now_ns - self._first_ns)
        self._remember(verdict)
        return verdict

    def report(self, until_ns: int | None = None) -> JudgeReport:
        """Everything so far. Utilisation is measured up to `until_ns`, or else to each service's last arrival."""
        services = {name: record.report(until_ns) for name, record in self._services.items()}
        return JudgeReport(
            calls=sum(service.calls for service in services.values()),
            violations=sum(service.violations for service in services.values()),
            services=services,
            worst=self._worst,
            last_violations=tuple(self._violations),
        )

    def _remember(self, verdict: Verdict) -> None:
        if violation := verdict.violation:
            self._violations.append(violation)
            if self._worst is None or violation.excess_ratio > self._worst.excess_ratio:
                self._worst = violation


class _ServiceRecord:
    """One service: its windows, and who called it."""

    def __init__(self, windows: Iterable[Window]) -> None:
        self.windows = tuple(JudgedWindow(window) for window in windows)
        self._calls = self._accepted = self._violations = 0
        self._by_endpoint: Counter[str] = Counter()
        self._by_loop: Counter[str] = Counter()
        self._by_loop_type: Counter[str] = Counter()
        self._by_priority: Counter[str] = Counter()

    def arrive(self, call: Call, now_ns: int) -> None:
        self._calls += 1
        self._by_endpoint[call.endpoint] += 1
        self._by_loop[call.loop] += 1
        self._by_loop_type[call.loop_type] += 1
        self._by_priority["" if call.priority is None else str(call.priority)] += 1
        for window in self.windows:
            window.arrive(window.units_of(call.tokens), now_ns)

    def accept(self, call: Call, now_ns: int) -> Verdict:
        self._accepted += 1
        for window in self.windows:
            window.accept(window.units_of(call.tokens), now_ns)
        if not self.windows:
            return Verdict(accepted=True)
        tightest = min(self.windows, key=lambda window: window.peek_remaining(now_ns) / window.rule.limit)
        return Verdict(
            accepted=True,
            window=tightest.rule,
            remaining=tightest.peek_remaining(now_ns),
            reset_after_ns=tightest.peek_reset_after_ns(now_ns),
        )

    def refuse(self, refusing: Iterable[JudgedWindow]) -> None:
        self._violations += 1
        for window in refusing:
            window.refuse()

    def report(self, until_ns: int | None) -> ServiceReport:
        return ServiceReport(
            calls=self._calls,
            accepted=self._accepted,
            violations=self._violations,
            windows=tuple(window.report(until_ns) for window in self.windows),
            by_endpoint=dict(self._by_endpoint),
            by_loop=dict(self._by_loop),
            by_loop_type=dict(self._by_loop_type),
            by_priority=dict(self._by_priority),
        )


def _windows_of(service: str, rows: Iterable[tuple[int, float, str]]) -> list[Window]:
    try:
        return [Window(*row) for row in rows]
    except (TypeError, ValueError) as error:
        raise ValueError(f"windows of {service!r}: {error}") from error


def _refusal(call: Call, refusing: Sequence[JudgedWindow], now_ns: int, elapsed_ns: int) -> Verdict:
    """The verdict under the window that has room latest; one that never has room is latest of all."""

    def retry_after_ns(window: JudgedWindow) -> float:
        wait_ns = window.peek_retry_after_ns(window.units_of(call.tokens), now_ns)
        return float("inf") if wait_ns is None else wait_ns

    binding = max(refusing, key=retry_after_ns)
    rule, units = binding.rule, binding.units_of(call.tokens)
    remaining = binding.peek_remaining(now_ns)
    wait_ns = binding.peek_retry_after_ns(units, now_ns)
    violation = Violation(
        at_s=elapsed_ns / SECOND_NS,
        service=call.service,
        endpoint=call.endpoint,
        loop=call.loop,
        loop_type=call.loop_type,
        priority=call.priority,
        limit=rule.limit,
        seconds=rule.seconds,
        unit=rule.unit,
        in_window=rule.limit - remaining,
        units=units,
        excess=units - remaining,
        early_by_s=None if wait_ns is None else wait_ns / SECOND_NS,
    )
    return Verdict(
        accepted=False,
        window=rule,
        remaining=remaining,
        reset_after_ns=binding.peek_reset_after_ns(now_ns),
        retry_after_ns=wait_ns,
        violation=violation,
    )
