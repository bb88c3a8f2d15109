"""The demo's limits, written down twice: by the service that publishes them, and in the app's limits.toml."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from turgor.examples.demo import service
from turgor.examples.demo.app import app, turgor
from turgor.limits import LimitKind, LimitsConfig

LIMITS = LimitsConfig.load(Path(service.__file__).with_name("limits.toml"))


def test_the_windows_of_limits_toml_are_those_that_the_service_publishes() -> None:
    stated = {
        name: Counter(
            (limit.capacity, limit.period_us / 1_000_000, limit.unit.value)
            for limit in table.limits()
            if limit.kind is LimitKind.WINDOW
        )
        for name, table in LIMITS.services.items()
    }

    assert stated == {name: Counter(windows) for name, windows in service.WINDOWS.items()}


def test_the_app_brings_the_limits_of_its_folder() -> None:
    assert turgor.limits == LIMITS


def test_each_task_calls_a_service_that_has_limits() -> None:
    tasks: list[Any] = [task for name, task in app.tasks.items() if name.startswith("turgor.examples.demo.")]
    services = {task.service for task in tasks}

    assert services == LIMITS.services.keys()


def test_every_level_and_every_kind_of_limit_has_an_example() -> None:
    definitions = LIMITS.definitions()

    assert {scope.partition(":")[0] for scope in definitions} == {"global", "service", "endpoint", "loop_type", "loop"}
    assert {limit.kind for limits in definitions.values() for limit in limits} == set(LimitKind)
