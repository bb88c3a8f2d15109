"""Which step decides at which pressure, by tables; and what a writer of `limits.toml` is told."""

from __future__ import annotations

from typing import Any

import pytest

from turgor.limits import ConfigError, LimitsConfig
from turgor.limits.degradation import DegradationStep, Pressure, step_for

IDLE = Pressure()


def step(**keys: Any) -> DegradationStep:
    return DegradationStep(**keys)


@pytest.mark.parametrize(
    ("keys", "pressure", "priority", "applies"),
    [
        ({"wait": "30s", "hold": True}, Pressure(29.9), 5, False),
        ({"wait": "30s", "hold": True}, Pressure(30.0), 5, True),
        ({"wait": "30s", "hold": True}, Pressure(None), 5, False),
        ({"backlog": 0.5, "hold": True}, Pressure(900.0, 0.49), 5, False),
        ({"backlog": 0.5, "hold": True}, Pressure(0.0, 0.5), 5, True),
        ({"backlog": 1, "hold": True}, Pressure(0.0, 1.0), 5, True),
        ({"breaker": "open", "hold": True}, Pressure(None, 1.0), 5, False),
        ({"breaker": "open", "hold": True}, Pressure(None, 0.0, 0.1), 5, True),
        ({"wait": "30s", "shed_below": 5}, Pressure(30.0), 4, True),
        ({"wait": "30s", "shed_below": 5}, Pressure(30.0), 5, False),
        ({"wait": "30s", "shed_below": "HIGH"}, Pressure(30.0), 6, True),
        ({"wait": "30s", "degrade_to": "proj.cheap"}, Pressure(30.0), 9, True),
        ({"wait": "30s", "degrade_to": "proj.cheap", "below": "HIGH"}, Pressure(30.0), 6, True),
        ({"wait": "30s", "degrade_to": "proj.cheap", "below": "HIGH"}, Pressure(30.0), 7, False),
        ({"wait": "30s", "degrade_to": "proj.cheap", "below": "HIGH"}, IDLE, 0, False),
    ],
)
def test_a_step_applies_from_its_pressure_on_below_its_priority(
    keys: dict[str, Any], pressure: Pressure, priority: int, applies: bool
) -> None:
    assert step(**keys).applies(pressure, priority) is applies


def test_the_first_step_that_applies_decides() -> None:
    high = step(wait="1m", hold=True, below="HIGH")
    steps = (step(breaker="open", degrade_to="a"), step(wait="5m", shed_below="NORMAL"), high)
    assert step_for(steps, IDLE, 0) is None
    assert step_for(steps, Pressure(60.0), 0) is high
    assert step_for(steps, Pressure(300.0), 0) is steps[1]
    assert step_for(steps, Pressure(300.0), 5) is high
    assert step_for(steps, Pressure(300.0), 7) is None
    assert step_for(steps, Pressure(300.0, 0.0, 9.0), 0) is steps[0]


def test_it_reads_as_it_is_written() -> None:
    assert [
        str(step(wait="60s", shed_below=5)),
        str(step(backlog=0.5, degrade_to="proj.cheap", below="HIGH")),
        str(step(breaker="open", hold=True)),
    ] == ["wait = '1m': shed below NORMAL", "backlog = 0.5: degrade to proj.cheap below HIGH", "breaker = 'open': hold"]


def test_a_pressure_says_what_work_meets_and_when_to_come_again() -> None:
    assert str(Pressure(12.34, 0.5)) == "work like this waits 12.3 s, with a backlog that is 50% full"
    assert str(Pressure(None)) == "work like this waits nobody knows for how long"
    assert str(Pressure(None, 0.0, 4.0)) == "its breaker is open for 4.0 s more"
    assert [Pressure(2.5).retry_after_s, Pressure(None, 0.0, 4.0).retry_after_s, Pressure(None).retry_after_s] == [2.5, 4.0, 1.0]


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        (
            "more",
            """services.a.degradation: 'more' is not allowed; use a list, such as [{ wait = "1m", shed_below = "NORMAL" }]""",
        ),
        ([5], """services.a.degradation[0]: 5 is not allowed; use a step, such as { wait = "1m", shed_below = "NORMAL" }"""),
        (
            [{"hold": True}],
            "services.a.degradation[0]: it does not say when; use exactly one of wait, backlog, breaker",
        ),
        (
            [{"wait": "1m"}],
            "services.a.degradation[0]: it does not say what to do; use exactly one of shed_below, degrade_to, hold",
        ),
        (
            [{"wait": "1m", "breaker": "open", "hold": True}],
            "services.a.degradation[0]: wait and breaker are too many; use exactly one of wait, backlog, breaker",
        ),
        (
            [{"wait": "1m", "shed_below": 5, "below": 5}],
            "services.a.degradation[0]: below and shed_below say the same; keep shed_below alone",
        ),
        (
            [{"wait": "1m", "shed_bellow": 5}],
            "services.a.degradation[0].shed_bellow: unknown key; did you mean 'shed_below'?",
        ),
        (
            [{"wait": "1m", "shed_below": 10}],
            (
                "services.a.degradation[0].shed_below: 10 is not allowed; "
                "use a priority from 1 to 9, or one of LOW, NORMAL, HIGH, CRITICAL"
            ),
        ),
        ([{"breaker": "shut", "hold": True}], "services.a.degradation[0].breaker: 'shut' is not allowed; use 'open'"),
        ([{"wait": "1m", "hold": False}], "services.a.degradation[0].hold: false is not allowed; use true"),
        (
            [{"wait": "1m", "degrade_to": ""}],
            "services.a.degradation[0].degrade_to: '' is not allowed; use the name of a task",
        ),
        (
            [{"breaker": "open", "hold": True}],
            "services.a.degradation: the service has no breaker that could open; add breaker = true, or use wait instead",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_remedy(steps: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LimitsConfig.load({"services": {"a": {"degradation": steps}}})
    assert caught.value.problems == (problem,)
