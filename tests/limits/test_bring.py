"""bring.lua: what an application brings, what an operator applied, and which of them is in force.

The tests tell restarts and deploys by what each process says: `bring` is a process that starts, or that lives and
says again what it brings, as every process does each second that it works.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest

from limit_calls import START_US, Calls
from turgor.limits import HierarchicalLimiter, LimitsConfig, LimitsRegistry
from turgor.limits.limit import SECOND_US
from turgor.limits.publication import Published
from turgor.limits.view import LimitsView

OLD, NEW, OTHER = (LimitsConfig.load({"services": {"api": {"requests_per_minute": number}}}) for number in (60, 30, 7))
SILENCE_S = 60
APPLIED, UNCHANGED, SUPERSEDED = Published.APPLIED, Published.UNCHANGED, Published.SUPERSEDED

Bring: TypeAlias = Callable[..., Published]


@pytest.fixture
def registry(calls: Calls) -> LimitsRegistry:
    return LimitsRegistry(calls.client, calls.keys)


@pytest.fixture
def bring(registry: LimitsRegistry) -> Bring:
    def at(seconds: float, config: LimitsConfig, program: str = "proj") -> Published:
        return registry.bring(config, program, now_us=START_US + round(seconds * SECOND_US)).status

    return at


def test_the_first_start_puts_the_applications_limits_in_force(bring: Bring, registry: LimitsRegistry) -> None:
    assert bring(0, OLD) is APPLIED
    assert registry.current() == OLD
    assert registry.history()[0].note == "brought by proj"


def test_a_restart_does_not_undo_what_an_operator_applied(bring: Bring, registry: LimitsRegistry) -> None:
    bring(0, OLD)
    registry.amend("service:api", {"requests_per_minute": 7})

    assert [bring(seconds, OLD) for seconds in (1, 100, 100_000, 100_000_000)] == [UNCHANGED] * 4
    assert registry.current() == OTHER


def test_a_change_of_the_applications_own_limits_ends_what_an_operator_applied(bring: Bring, registry: LimitsRegistry) -> None:
    bring(0, OLD)
    registry.apply(OTHER)

    assert bring(1, NEW) is APPLIED
    assert registry.current() == NEW


def test_what_an_operator_applied_before_the_application_ever_started_is_replaced(bring: Bring, registry: LimitsRegistry) -> None:
    """Nobody can have meant it as a change of limits that were not there."""
    registry.apply(OTHER)

    assert bring(0, OLD) is APPLIED


def test_an_operator_who_applies_what_a_deploy_will_bring_makes_the_deploy_change_nothing(
    bring: Bring, registry: LimitsRegistry
) -> None:
    bring(0, OLD)
    registry.apply(NEW)

    assert bring(1, NEW) is UNCHANGED
    assert registry.version() == 2
    assert bring(2, OLD) is SUPERSEDED


def test_in_a_rolling_deploy_old_processes_that_start_once_more_change_nothing(bring: Bring, registry: LimitsRegistry) -> None:
    bring(0, OLD)
    assert bring(100, NEW) is APPLIED

    for seconds in range(101, 400, 10):
        assert bring(seconds, OLD) is SUPERSEDED
        assert bring(seconds + 1, NEW) is UNCHANGED

    assert (registry.version(), registry.current()) == (2, NEW)


def test_a_deploy_that_is_rolled_back_is_rolled_back(bring: Bring, registry: LimitsRegistry) -> None:
    """Old processes start, or have never ended, and of the new ones none is left."""
    bring(0, OLD)
    bring(100, NEW)
    bring(120, NEW)

    assert bring(120 + SILENCE_S - 1, OLD) is SUPERSEDED
    assert bring(120 + SILENCE_S, OLD) is APPLIED
    assert registry.current() == OLD
    assert bring(121 + SILENCE_S, NEW) is SUPERSEDED, "what is left of the deploy ends now, and changes nothing"


def test_a_living_process_is_noted_often_enough_and_not_each_time(bring: Bring, calls: Calls) -> None:
    bring(0, OLD)
    noted: set[object] = set()
    for second in range(1, 61):
        bring(second, OLD)
        noted.add(calls.client.zscore(calls.keys("brought:proj"), OLD.digest))

    assert len(noted) == 5


def test_a_rollback_after_a_pause_of_everything_is_in_force_at_once(bring: Bring, registry: LimitsRegistry) -> None:
    bring(0, OLD)
    bring(100, NEW)

    assert bring(10_000, OLD) is APPLIED
    assert registry.current() == OLD


def test_two_applications_with_different_limits_do_not_undo_each_other_for_ever(bring: Bring, registry: LimitsRegistry) -> None:
    """One realm has one set of limits, and the last that is new stays."""
    bring(0, OLD, "web")
    bring(1, NEW, "work")

    for seconds in range(2, 1_000, 100):
        assert bring(seconds, OLD, "web") is bring(seconds, NEW, "work") is UNCHANGED
    assert (registry.version(), registry.current()) == (2, NEW)
    assert bring(1_001, OTHER, "web") is APPLIED


def test_two_applications_with_the_same_limits_share_a_version(bring: Bring, registry: LimitsRegistry) -> None:
    bring(0, OLD, "web")

    assert bring(1, OLD, "work") is UNCHANGED
    assert registry.version() == 1


def test_only_a_hundred_of_an_applications_limits_are_remembered(bring: Bring, calls: Calls) -> None:
    """And the one in force is among them."""
    for number in range(1, 121):
        bring(number, LimitsConfig.load({"global": {"max_in_flight": number}}))

    assert calls.client.zcard(calls.keys("brought:proj")) == 100
    assert bring(121, LimitsConfig.load({"global": {"max_in_flight": 120}})) is UNCHANGED


def test_a_process_that_is_superseded_says_so_once_and_keeps_what_is_in_force(
    registry: LimitsRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    views = [LimitsView(registry, config, program="proj", clock=iter(range(0, 1_000, 2)).__next__) for config in (OLD, NEW)]
    for view in views:
        view.refresh()
    straggler = LimitsView(registry, OLD, program="proj")

    assert [straggler.refresh(), straggler.refresh(), views[0].refresh()] == [NEW] * 3
    (message,) = caplog.messages
    assert message == (
        f"The limits that this process brings are older than those of others that run; in force is {registry.history()[0]}"
    )


def test_a_limiter_that_is_made_again_does_not_undo_what_an_operator_applied(calls: Calls, registry: LimitsRegistry) -> None:
    realm = calls.keys.realm
    HierarchicalLimiter(calls.client, OLD, realm=realm).refresh()
    registry.apply(OTHER)

    assert HierarchicalLimiter(calls.client, OLD, realm=realm).refresh() == OTHER
    assert HierarchicalLimiter(calls.client, NEW, realm=realm).refresh() == NEW
