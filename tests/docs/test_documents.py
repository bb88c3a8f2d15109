"""The code in the documents runs: Python against a real server, TOML through the validation."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from support import REPOSITORY
from turgor import limits
from turgor.limits import LimitsConfig
from turgor.limits.scope_table import ServiceTable, TokenLimits, Window
from turgor.worker.commands import turgor as commands

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#]+)")


def blocks(document: Path, language: str) -> list[str]:
    return [code for found, code in BLOCK.findall(document.read_text()) if found == language]


def documents_with(language: str) -> list[Any]:
    return [pytest.param(each, id=each.name) for each in DOCUMENTS if blocks(each, language)]


@pytest.mark.parametrize("document", documents_with("python"))
def test_the_python_of_a_document_runs_from_top_to_bottom(
    document: Path, server_url: str, redis_client: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace: dict[str, Any] = {"__name__": "proj"}

    for code in blocks(document, "python"):
        exec(code.replace("redis://localhost:6379/0", server_url), namespace)

    if document.name == "README.md":
        turgor = namespace["turgor"]
        assert redis_client.hlen(turgor.keys("message")) == 2, "both calls of the example have gone through the gate"


@pytest.mark.parametrize("document", documents_with("toml"))
def test_the_limits_in_a_document_are_valid(document: Path) -> None:
    for code in blocks(document, "toml"):
        assert LimitsConfig.load(tomllib.loads(code)).definitions()


def test_every_command_is_in_the_readme() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert [name for name in commands.commands if not re.search(rf"(turgor -A proj |`|make ){name}\b", text)] == []


def test_every_error_of_the_limiters_is_documented() -> None:
    text = (REPOSITORY / "docs" / "limiters.md").read_text()
    errors = {
        name for name in limits.__all__ if isinstance(found := getattr(limits, name), type) and issubclass(found, Exception)
    }
    assert [name for name in sorted(errors) if f"`{name}" not in text] == []


def test_every_key_of_the_file_is_documented() -> None:
    text = (REPOSITORY / "docs" / "limits.md").read_text()
    tables = (ServiceTable, TokenLimits, Window)
    missing = [f"{table.__name__}.{key}" for table in tables for key in table.model_fields if f"`{key}`" not in text]
    assert not missing
    assert [key for key in LimitsConfig.model_fields if f"[{key.rstrip('_')}" not in text] == []


def test_the_keys_that_are_listed_for_token_limits_and_windows_are_those_that_the_file_takes() -> None:
    """`shadow` was once listed for `token_limits`, which does not take it."""
    text = (REPOSITORY / "docs" / "limits.md").read_text()
    for table, start in ((TokenLimits, "Keys of `token_limits`:"), (Window, "Keys of one entry of `windows`:")):
        listed = text.partition(start)[2].partition(".\n")[0].partition("Keys of")[0]
        assert set(re.findall(r"`(\w+)`", listed)) == set(table.model_fields)


def test_the_readme_leads_to_every_page() -> None:
    pages = {f"docs/{page.name}" for page in (REPOSITORY / "docs").glob("*.md")} | {"docs/decisions"}
    assert pages - set(LINK.findall((REPOSITORY / "README.md").read_text())) == set()


@pytest.mark.parametrize("document", [pytest.param(each, id=each.name) for each in DOCUMENTS])
def test_the_files_that_a_document_points_at_exist(document: Path) -> None:
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), target
