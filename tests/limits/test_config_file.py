"""A file of limits that cannot be read says why in one line that begins with its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from turgor.limits.config import LimitsConfig
from turgor.limits.errors import ConfigError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems_of(path: str | Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        LimitsConfig.load(path)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[global]\n\nburst = \n", "line 3, column 9: invalid value"),
        (b"[global]\nx y = 3", "line 2, column 3: expected '=' after a key in a key/value pair"),
        (b"[loops.a]\n[loops.a]\n", "line 2, column 9: cannot declare loops.a twice"),
        (b"a = [1,", "at the end: invalid value"),
        (b"a = 'b\nc'", "line 1, column 7: found invalid character '\\n'"),
        (b"# caf\xc3\xa9\n# caf\xe9\n", "line 2: this is not UTF-8 text; save the file as UTF-8"),
        ("[global]\n".encode("utf-16"), "line 1: this is not UTF-8 text; save the file as UTF-8"),
        (b"a = 2023-02-31", "line 1, column 5: invalid date or datetime"),
        (b"\x00", "line 1, column 1: invalid statement"),
    ],
)
def test_a_file_that_is_not_toml_says_where(here: Path, content: bytes, problem: str) -> None:
    (here / "limits.toml").write_bytes(content)
    assert problems_of("limits.toml") == [f"limits.toml: {problem}"]


def test_nesting_without_end_is_no_crash(here: Path) -> None:
    (here / "limits.toml").write_text("a = " + "[" * 100_000)
    assert problems_of("limits.toml") == [
        "limits.toml: lists or tables are nested too deeply to be read; limits need no more than 5 levels"
    ]


def test_a_number_that_python_refuses_to_read_is_no_crash(here: Path) -> None:
    (here / "limits.toml").write_text("a = " + "1" * 5000)
    (problem,) = problems_of("limits.toml")
    assert problem.startswith("limits.toml: a value is not possible: ")


def test_a_file_that_does_not_exist_says_where_it_was_sought(here: Path) -> None:
    assert problems_of("conf/limits.toml") == [f"conf/limits.toml: no such file in {here}; correct the path"]


def test_an_absolute_path_that_does_not_exist_needs_no_directory(here: Path) -> None:
    assert problems_of(here / "none.toml") == [f"{here}/none.toml: no such file; correct the path"]


def test_a_directory_is_not_a_file(here: Path) -> None:
    (here / "limits.toml").mkdir()
    assert problems_of("limits.toml") == ["limits.toml: this is a directory; give the path of a TOML file"]
    assert problems_of(Path()) == [".: this is a directory; give the path of a TOML file"]


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_that_no_file_can_have_is_one_problem(name: str) -> None:
    (problem,) = problems_of(name)
    assert problem.endswith(": this cannot be the name of a file; correct the path")
    assert problem.isprintable()


def test_other_failures_of_the_system_are_told(here: Path) -> None:
    (here / "limits.toml").write_text("")
    assert problems_of("limits.toml/x") == ["limits.toml/x: this file cannot be read: Not a directory"]


def test_every_mistake_in_a_file_begins_with_its_name(here: Path) -> None:
    (here / "limits.toml").write_text("[global]\nrequest_per_minute = 5\n[tasks]\nx = 'api'\n")
    assert problems_of(Path("limits.toml")) == [
        "limits.toml: global.request_per_minute: unknown key; did you mean 'requests_per_minute'?",
        "limits.toml: tasks.x: service 'api' is not defined; no service is",
    ]


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_and_line_ends_of_windows_are_no_mistake(here: Path, prefix: bytes) -> None:
    (here / "limits.toml").write_bytes(prefix + b"[global]\r\nmax_in_flight = 5\r\n")
    assert LimitsConfig.load("limits.toml").global_.max_in_flight == 5


def test_an_empty_file_limits_nothing(here: Path) -> None:
    (here / "limits.toml").touch()
    assert LimitsConfig.load("limits.toml") == LimitsConfig()
