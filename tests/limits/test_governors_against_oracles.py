"""The scripts judge outcomes and admit calls as the pure breaker and the pure adaptive share do, step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from limit_calls import START_US, Calls, new_scope
from turgor.limits import LimitsConfig
from turgor.limits.account import Account
from turgor.limits.adaptive import AdaptiveState
from turgor.limits.breaker import BreakerState, Circuit
from turgor.limits.limit import SECOND_US
from turgor.limits.outcome import Outcome
from turgor.limits.rate_token import REPORT
from turgor.limits.registry import LimitsRegistry
from turgor.limits.service_health import HEALTH, adaptive_state, breaker_state
from turgor.limits.teller import ACQUIRE

LEASE_US = 3 * SECOND_US
TABLE: dict[str, Any] = {
    "max_in_flight": 1_000,
    "breaker": {
        "failure_ratio": 0.5,
        "minimum_calls": 4,
        "window": "2s",
        "cool_down": "1s",
        "max_cool_down": "5s",
        "probes": 2,
        "ramp": "3s",
    },
    "adaptive": {"floor": 0.1, "decrease": 0.6, "recovery": "7s", "reaction": "500ms"},
}


class Step(NamedTuple):
    """`outcome` of one of the calls that run, the `which`-th; None admits another."""

    elapsed_us: int
    outcome: Outcome | None
    which: int = 0


@st.composite
def runs(draw: st.DrawFn) -> list[Step]:
    mood = draw(st.sampled_from([(8, 1, 1), (1, 8, 1), (1, 1, 8), (3, 3, 1)]))
    outcomes = [Outcome.OK] * mood[0] + [Outcome.FAILED] * mood[1] + [Outcome.THROTTLED] * mood[2] + [Outcome.OPEN]
    elapsed = st.sampled_from([0, 1, 1_000, 99_999, 200_000, 200_000, 500_000, 1_000_000, 3_000_001, 90_000_000])
    steps = st.one_of(st.builds(Step, elapsed, st.none()), st.builds(Step, elapsed, st.sampled_from(outcomes), st.integers(0, 5)))
    walk = draw(st.lists(steps, min_size=1, max_size=60))
    # A walk seldom fails often enough by itself to open the breaker twice.
    outage = [Step(0, None)] * 4 + [Step(1_000, Outcome.FAILED)] * 4 + [Step(draw(elapsed), None)] * 2
    return draw(st.sampled_from([[], outage, [*outage, Step(1_000_000, None), Step(9, Outcome.OK, 5)]])) + walk


def without_old_memories(state: BreakerState, now_us: int) -> BreakerState:
    """Counters that have left, probes that were given up and trips that nobody remembers may be stored or not."""
    state = replace(
        state,
        cells=tuple(cell for cell in state.cells if cell.start_us > now_us - 2 * SECOND_US),
        probing={holder: until_us for holder, until_us in state.probing.items() if until_us > now_us},
    )
    if state.circuit is Circuit.CLOSED and now_us - state.since_us > 5 * SECOND_US:
        return BreakerState(cells=state.cells)
    return state


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=runs())
def test_breaker_and_adaptive_share_decide_as_the_pure_ones(calls: Calls, steps: list[Step]) -> None:
    service = new_scope()
    config = LimitsConfig.load({"services": {service: TABLE}})
    LimitsRegistry(calls.client, calls.keys).publish(config)
    table = config.services[service]
    assert table.breaker
    assert table.adaptive
    breaker, share = table.breaker.breaker(), table.adaptive.share()
    circuit, factor = BreakerState(), AdaptiveState()
    account = Account([(f"service:{service}", limit) for limit in table.limits()])
    running, now_us = list[tuple[str, int]](), START_US

    for number, step in enumerate(steps):
        now_us += step.elapsed_us
        if step.outcome is None:
            holder = f"h{number}"
            expected_us = breaker.allow_at(circuit, now_us)
            scaled = breaker.share(breaker.current(circuit, now_us), now_us) * share.current(factor, now_us).factor
            decision = account.decision(
                ACQUIRE(calls.client, calls.keys.prefix, now_us, holder, LEASE_US, 1, 0, "", *account.rules)
            )
            assert decision.allowed is (expected_us == now_us), (number, step)
            if decision.allowed:
                circuit = breaker.admit(circuit, holder, now_us, now_us + LEASE_US)
                running.append((holder, now_us))
                assert decision.capacity == 1_000
                assert decision.remaining <= max(1, int(1_000 * min(1.0, scaled)))
            else:
                event("refused")
                assert decision.binding == f"service:{service} breaker"
                assert decision.retry_after == (expected_us - now_us) / SECOND_US
        elif running:
            holder, admitted_us = running.pop(step.which % len(running))
            REPORT(calls.client, calls.keys.prefix, now_us, service, step.outcome, holder, admitted_us)
            before = circuit.circuit
            circuit = breaker.report(circuit, step.outcome, holder, now_us)
            factor = share.report(factor, step.outcome, now_us, admitted_us)
            event(f"{before} to {circuit.circuit}")
        reply = HEALTH(calls.client, calls.keys.prefix, now_us, service)
        found = without_old_memories(breaker.current(breaker_state(reply), now_us), now_us)
        assert found == without_old_memories(breaker.current(circuit, now_us), now_us), (number, step)
        assert share.current(adaptive_state(reply), now_us) == share.current(factor, now_us), (number, step)
