"""Units that are held for released work, as the scheduler's scripts hold them, against the pure window."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limit_calls import START_US, Calls, new_scope, window
from turgor.limits.account import Account
from turgor.limits.limit import SECOND_US
from turgor.limits.lua import LIMITS_LUA, Script
from turgor.limits.sliding_window import SlidingWindow, WindowState

PERIOD_US = 10 * SECOND_US
APPLY = Script(Path(__file__).parent / "lua" / "apply.lua", LIMITS_LUA)

steps = st.lists(
    st.tuples(
        st.sampled_from(["hold", "hold", "start", "unhold", "charge", "take_back", "restart", "finish"]),
        st.integers(1, 5),
        st.sampled_from([0, 1, PERIOD_US // 200, PERIOD_US // 100, PERIOD_US // 3, PERIOD_US, -PERIOD_US // 50]),
    ),
    max_size=60,
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_held_units_move_as_in_the_pure_window(calls: Calls, steps: list[tuple[str, int, int]]) -> None:
    limit, scope, at_us = window(1_000, PERIOD_US), new_scope(), START_US
    pure, state, started_us = SlidingWindow(1_000, PERIOD_US), WindowState(), START_US
    rules = Account([(scope, limit)]).rules

    for verb, units, elapsed in steps:
        at_us += elapsed
        APPLY(calls.client, calls.keys.prefix, at_us, verb, units, started_us, *rules)
        match verb:
            case "hold":
                state = pure.hold(state, units)
            case "unhold":
                state = pure.unhold(state, units)
            case "start":
                state, started_us = pure.start(state, units, at_us), at_us
            case "take_back":
                state = pure.take_back(state, units, at_us, started_us)
            case "restart":
                state = pure.restart(state, units, at_us, started_us)
            case "finish":
                state = pure.finish(state, units, at_us, started_us)
            case _:
                _, state = pure.decide(state, units, at_us)

    found = calls.state(scope, limit)
    assert isinstance(found, WindowState)
    assert found.held == state.held
    # Only a script that counts looks at what has left the window.
    now_us = max(at_us, START_US)
    assert pure.remaining(found, now_us) == pure.remaining(state, now_us)
