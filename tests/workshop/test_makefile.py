"""`make` on machines that are not ready for it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support import REPOSITORY

TOOLS = ("awk", "basename", "cmp", "find", "make", "mv", "rm", "sh", "sort", "touch")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The Makefile beside a `bin` without any Python."""
    for file in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / file, tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def make(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=tree, env={"PATH": str(tree / "bin")}, capture_output=True, text=True, check=False
    )


def python_in(tree: Path, *, name: str, script: str) -> None:
    python = tree / "bin" / name
    python.write_text(f"#!{shutil.which('sh')}\n{script}\n")
    python.chmod(0o755)


def test_make_alone_lists_every_target(tree: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (tree / "Makefile").read_text(), re.MULTILINE))

    assert {line.split()[1] for line in make(tree).stdout.splitlines()} == targets


def test_without_any_python_make_names_the_version_that_it_needs(tree: Path) -> None:
    result = make(tree, "demo")

    assert result.returncode != 0
    assert result.stderr.startswith("Turgor needs Python 3.11 or newer; tried: python3 ")


def test_an_old_python_is_not_taken(tree: Path) -> None:
    python_in(tree, name="python3", script="exit 1")

    assert make(tree, "demo").stderr.startswith("Turgor needs Python 3.11 or newer")


def test_a_python_without_venv_is_named_with_the_remedy(tree: Path) -> None:
    python_in(tree, name="python3.12", script='case "$2" in *venv*) exit 1;; esac')

    assert make(tree, "demo").stderr.startswith(
        "Turgor needs the venv module of python3.12 (Debian, Ubuntu: apt install python3.12-venv)"
    )
