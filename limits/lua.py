"""The boundary between Python and Lua.

A script is a file. Its header declares what it takes, one slot a line,

    -- KEYS realm: the realm's prefix
    -- ARGV budget: how many attempts, at most
    -- ARGV pairs...: the rest, as a list

and each slot becomes a Lua local of that name, so no script counts positions. `-- include: file.lua`
puts a shared part in its place, once, whoever asks for it. A part costs time in every call
that reaches it, because its functions are made anew. So a script that can answer without one returns before it, and
`-- include on demand: file.lua` makes of a part the function `load_file`, which gives the part's local of that name.
Who needs the part for certain includes it before.
Lua knows 200 locals at a time. So what only its own part uses stands in a block, and is not known outside.
Scripts run by their digest; a server that forgot them (restart, failover) is given the text again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, cast

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

Client: TypeAlias = redis.Redis
AsyncClient: TypeAlias = redis.asyncio.Redis

_SLOT = re.compile(r"^-- (KEYS|ARGV) (\w+)(\.\.\.)?: ", re.MULTILINE)
_INCLUDE = re.compile(r"^-- include( on demand)?: (\S+)$", re.MULTILINE)
_LOCAL = re.compile(r"^local (function )?(\w+(?:, \w+)*)( =|\(|$)", re.MULTILINE)
_NO_CODE = re.compile(r"--[^\n]*|'(?:\\.|[^'\\\n])*'")
LIMITS_LUA = Path(__file__).parent / "lua"


class ScriptError(Exception):
    """A script's text is wrong: an include that is missing or goes in a circle. A defect of Turgor, not of its user."""


class Script:
    """One Lua script.

    Parameters
    ----------
    path:
        The script's file. Its parts are looked up in `parts/` beside it.
    libraries:
        Further folders whose `parts/` may be included.
    """

    def __init__(self, path: Path, *libraries: Path) -> None:
        self.path = path
        body = path.read_text()
        self._folders = [folder / "parts" for folder in (path.parent, *libraries)]
        self._words = self._words_of(path.name, body, {})
        self.slots = [(kind, name, bool(rest)) for kind, name, rest in _SLOT.findall(body)]
        self.source = "".join((*self._locals(), self._with_parts(body, (path.name,), set(), set())))
        self.sha = hashlib.sha1(self.source.encode()).hexdigest()  # noqa: S324  EVALSHA's own digest
        self._keys = sum(kind == "KEYS" for kind, _, _ in self.slots)

    def __repr__(self) -> str:
        return f"<Script {self.path.stem}>"

    def __call__(self, client: Client, *values: str | bytes | float) -> Any:
        """Run with the values of the slots, in the order of the header."""
        try:
            return cast(Any, client.execute_command("EVALSHA", self.sha, self._keys, *values))
        except NoScriptError:
            return cast(Any, client.execute_command("EVAL", self.source, self._keys, *values))

    async def run_async(self, client: AsyncClient, *values: str | bytes | float) -> Any:
        """`__call__` for an asyncio client."""
        try:
            return await cast(Awaitable[Any], client.execute_command("EVALSHA", self.sha, self._keys, *values))
        except NoScriptError:
            return await cast(Awaitable[Any], client.execute_command("EVAL", self.source, self._keys, *values))

    def _locals(self) -> Iterator[str]:
        counts = {"KEYS": 0, "ARGV": 0}
        for kind, name, rest in self.slots:
            counts[kind] += 1
            position = counts[kind]
            value = f"{{unpack({kind}, {position})}}" if rest else f"{kind}[{position}]"
            yield f"local {name} = {value}\n"

    def _with_parts(self, text: str, path: tuple[str, ...], seen: set[str], hidden: set[str]) -> str:
        """The text with its parts. `seen` are in their place already; `hidden` of these, inside a part on demand."""

        def part(include: re.Match[str]) -> str:
            on_demand, name = include.groups()
            if name in path:
                raise ScriptError(f"{' -> '.join((*path, name))}: an include in a circle")
            if name in hidden and not on_demand:
                raise ScriptError(
                    f"{' -> '.join((*path, name))}: made on demand before, so it is not known here: include it first"
                )
            stem = Path(name).stem
            if name in seen:
                return f"local function load_{stem}() return {stem} end" if on_demand and name not in hidden else ""
            before = set(seen)
            seen.add(name)
            whole = self._with_parts(self._closed(name), (*path, name), seen, hidden)
            if not on_demand:
                return whole
            hidden.update(seen - before)
            return f"local function load_{stem}()\n{whole}\nreturn {stem}\nend"

        return _INCLUDE.sub(part, text)

    def _words_of(self, name: str, text: str, found: dict[str, set[str]]) -> dict[str, set[str]]:
        """The words in the code of the text and of each part that it reaches."""
        if name not in found:
            found[name] = set(re.findall(r"\w+", _NO_CODE.sub(" ", text)))
            for _, part in _INCLUDE.findall(text):
                self._words_of(part, self._find(part), found)
        return found

    def _closed(self, name: str) -> str:
        """A part, with a block around what follows its includes. Its names that others use are bound before the block."""
        text = self._find(name)
        start = max((include.end() for include in _INCLUDE.finditer(text)), default=0)
        used = {Path(name).stem}.union(*(words for other, words in self._words.items() if other != name))
        bound = list[str]()

        def bind(statement: re.Match[str]) -> str:
            function, names, value = statement.groups()
            if used.isdisjoint(names.split(", ")):
                return statement[0]
            bound.append(f"local {names}\n")
            return f"{function or ''}{names}{value}" if value else ""

        block = _LOCAL.sub(bind, text[start:])
        return f"{text[:start]}\n{''.join(bound)}do\n{block}\nend\n"

    def _find(self, name: str) -> str:
        for folder in self._folders:
            if (folder / name).is_file():
                return (folder / name).read_text()
        raise ScriptError(f"{self.path.name}: no part called {name}")
