from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import REPOSITORY

ROOMS = ("limits", "scheduler", "worker", "monitor", "examples")
NOT_SHIPPED = shutil.ignore_patterns("__pycache__")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tree, so that an earlier build in `build/` cannot add to it."""
    source = tmp_path_factory.mktemp("source")
    for room in ROOMS:
        shutil.copytree(REPOSITORY / room, source / room, ignore=NOT_SHIPPED)
    for file in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(REPOSITORY / file, source)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    result = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (built,) = (source / "dist").iterdir()
    return built


@pytest.fixture(scope="session")
def unpacked_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


@pytest.fixture
def compose() -> dict[str, Any]:
    """docker-compose.yml, as data."""
    return yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
