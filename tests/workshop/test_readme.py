"""The README's commands, as a stranger runs them: in a fresh copy, without an environment.

Each block fenced as `sh` runs, in order. One that cannot has a reason in front: `<!-- not run: needs Docker -->`.
`make test` runs the tutorial there: whether all tests pass was the question before, and is none of the copy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support import REPOSITORY

BLOCK = re.compile(
    r"(?P<skip><!-- not run: \S.*? -->\s*)?^```(?:sh|bash|console)\n(?P<commands>.*?)^```", re.MULTILINE | re.DOTALL
)


def commands(readme: str) -> list[str]:
    return [block["commands"] for block in BLOCK.finditer(readme) if not block["skip"]]


def test_a_block_runs_unless_a_reason_stands_in_front() -> None:
    readme = "Try it:\n```sh\nmake demo\n```\n<!-- not run: needs Docker -->\n```sh\ndocker compose up\n```\n```python\n1\n```\n"

    assert commands(readme) == ["make demo\n"]


@pytest.fixture
def fresh_copy(tmp_path: Path) -> Path:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    files = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    for file in filter(None, files):
        if (REPOSITORY / file).is_file():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / file, tmp_path / file)
    return tmp_path


@pytest.mark.readme
@pytest.mark.timeout(900)
def test_the_commands_of_the_readme_work_in_a_fresh_copy(fresh_copy: Path) -> None:
    blocks = commands((fresh_copy / "README.md").read_text())
    assert blocks, "the README shows no command"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TURGOR_", "VIRTUAL_ENV", "MAKE"))}
    environment["ARGS"] = "tests/fundamentals"

    for block in blocks:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=fresh_copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{block}\n{result.stdout}\n{result.stderr}"
