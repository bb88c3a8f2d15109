"""A config file is TOML on disk. Whatever keeps it from being read is one clear line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError
from .quotation import one_line

if TYPE_CHECKING:
    import os

_POSITION = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL)
_KEY_TUPLE = re.compile(r"\(('[^']*',? ?)+\)")


def read_config_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises
    ------
    ConfigError
        The file cannot be read, is not UTF-8 or is not TOML. The problem does not repeat the file's name.
    """
    return _parse(_read(path))


def _read(path: str | os.PathLike[str]) -> str:
    try:
        content = Path(path).read_bytes()
        # Some editors put a byte order mark first, and TOML says to ignore it.
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        where = "" if Path(path).is_absolute() else f" in {one_line(str(Path.cwd()))}"
        raise ConfigError([f"no such file{where}; correct the path"]) from None
    except IsADirectoryError:
        raise ConfigError(["this is a directory; give the path of a TOML file"]) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"line {line}: this is not UTF-8 text; save the file as UTF-8"]) from None
    except OSError as error:
        raise ConfigError([f"this file cannot be read: {error.strerror}"]) from None
    except ValueError:
        # A NUL or a lone surrogate in the name.
        raise ConfigError(["this cannot be the name of a file; correct the path"]) from None


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_explain(str(error))]) from None
    except RecursionError:
        raise ConfigError(["lists or tables are nested too deeply to be read; limits need no more than 5 levels"]) from None
    except ValueError as error:
        # Numbers and dates that are well formed and impossible: tomllib does not say where.
        raise ConfigError([f"a value is not possible: {one_line(str(error))}"]) from None


def _explain(message: str) -> str:
    found = _POSITION.fullmatch(message)
    what = found["what"] if found else message
    what = _KEY_TUPLE.sub(lambda keys: ".".join(re.findall(r"'([^']*)'", keys[0])), what)
    where = f"line {found['line']}, column {found['column']}" if found and found["line"] else "at the end"
    return f"{where}: {one_line(what[:1].lower() + what[1:])}"
