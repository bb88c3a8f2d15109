from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support import REPOSITORY

ROOMS = ("limits", "scheduler", "worker", "monitor", "examples")
DOCUMENTS = {".md"}


def test_a_wheel_holds_every_file_of_the_rooms_and_nothing_else(wheel: Path) -> None:
    in_the_tree = {
        f"turgor/{path.relative_to(REPOSITORY)}"
        for room in ROOMS
        for path in (REPOSITORY / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in DOCUMENTS
    }
    with zipfile.ZipFile(wheel) as archive:
        in_the_wheel = {name for name in archive.namelist() if ".dist-info/" not in name}

    missing, foreign = sorted(in_the_tree - in_the_wheel), sorted(in_the_wheel - in_the_tree)
    assert not missing, "add them to `packages` or `package-data` in pyproject.toml"
    assert not foreign


@pytest.mark.parametrize("room", ["limits", "scheduler", "worker", "monitor"])
def test_each_room_tells_type_checkers_that_it_is_typed(unpacked_wheel: Path, room: str) -> None:
    assert (unpacked_wheel / "turgor" / room / "py.typed").is_file()


@pytest.mark.parametrize(
    "module", ["limits", "scheduler", "worker", "monitor", "worker.commands", "limits.headers", "examples.demo"]
)
def test_each_room_imports_from_a_wheel(unpacked_wheel: Path, tmp_path: Path, module: str) -> None:
    program = f"import sys; sys.path.insert(0, {str(unpacked_wheel)!r}); import turgor.{module} as module; print(module.__file__)"
    result = subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).is_relative_to(unpacked_wheel)
