"""The import contracts in pyproject.toml, tried on empty rooms with one import or two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import REPOSITORY

ROOMS = ("limits", "scheduler", "worker", "monitor", "examples")
JUDGE = ("http_connection", "judge", "judge_report", "judged_window", "routes", "service", "sliding_log")


def lint(house: Path, imports: dict[str, str]) -> subprocess.CompletedProcess[str]:
    for room in (*ROOMS, "worker/commands", "examples/demo"):
        (house / "turgor" / room).mkdir(parents=True)
        (house / "turgor" / room / "__init__.py").touch()
    for module in JUDGE:
        (house / "turgor" / "examples" / "demo" / f"{module}.py").touch()
    for module, imported in imports.items():
        (house / "turgor" / module).write_text(f"import {imported}\n")
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", REPOSITORY / "pyproject.toml"],
        cwd=house,
        env=os.environ | {"PYTHONPATH": str(house)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "imported", "contract"),
    [
        ("limits/a.py", "turgor.scheduler", "Imports run worker, scheduler, limits"),
        ("limits/a.py", "turgor.worker", "Imports run worker, scheduler, limits"),
        ("scheduler/a.py", "turgor.worker", "Imports run worker, scheduler, limits"),
        ("limits/a.py", "turgor.monitor", "Nothing but the commands and the examples imports the monitor"),
        ("scheduler/a.py", "turgor.monitor", "Nothing but the commands and the examples imports the monitor"),
        ("worker/a.py", "turgor.monitor", "Nothing but the commands and the examples imports the monitor"),
        ("limits/a.py", "celery", "Only the worker and the monitor know Celery"),
        ("scheduler/a.py", "kombu.utils.uuid", "Only the worker and the monitor know Celery"),
        ("limits/a.py", "httpx", "Only the hooks know the HTTP clients"),
        ("examples/demo/judge.py", "turgor.limits", "The demo's judge is independent of what it judges"),
    ],
)
def test_an_import_against_the_grain_breaks_a_contract(tmp_path: Path, module: str, imported: str, contract: str) -> None:
    result = lint(tmp_path, {module: imported})

    assert result.returncode == 1
    assert f"{contract} BROKEN" in result.stdout


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("worker/a.py", "turgor.scheduler, turgor.limits, celery"),
        ("worker/commands/a.py", "turgor.monitor"),
        ("examples/a.py", "turgor.monitor, turgor.worker"),
        ("monitor/a.py", "turgor.scheduler, celery"),
        ("limits/httpx_transport.py", "httpx"),
    ],
)
def test_an_import_with_the_grain_keeps_all_contracts(tmp_path: Path, module: str, imported: str) -> None:
    result = lint(tmp_path, {module: imported})

    assert result.returncode == 0, result.stdout


def test_the_demo_command_may_start_an_example_that_watches(tmp_path: Path) -> None:
    result = lint(tmp_path, {"worker/commands/demo.py": "turgor.examples.a", "examples/a.py": "turgor.monitor"})

    assert result.returncode == 0, result.stdout
