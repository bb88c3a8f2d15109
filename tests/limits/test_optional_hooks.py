"""httpx and requests are optional: limits work without them, and say what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"httpx", "requests", "urllib3"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import turgor.limits
from turgor.limits.headers import parse_headers
from turgor.limits.response_usage import openai_tokens

assert parse_headers({"Retry-After": "5"}, 429).retry_after_s == 5.0
"""


def run(program: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)


def test_limits_need_neither(tmp_path: Path) -> None:
    result = run(WITHOUT, tmp_path)

    assert result.returncode == 0, result.stderr


def test_limits_load_neither(tmp_path: Path) -> None:
    loaded = "import sys, turgor.limits; print(*sys.modules.keys() & {'httpx', 'requests', 'urllib3'})"

    assert run(loaded, tmp_path).stdout == "\n"


@pytest.mark.parametrize(("module", "extra"), [("httpx_transport", "httpx"), ("requests_adapter", "requests")])
def test_a_hook_without_its_library_names_the_extra(tmp_path: Path, module: str, extra: str) -> None:
    result = run(f"{WITHOUT}\nimport turgor.limits.{module}", tmp_path)

    assert f"ImportError: turgor.limits.{module} needs {extra}: pip install 'turgor[{extra}]'" in result.stderr
