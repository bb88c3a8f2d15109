"""What a script's header says is what its body does, and the parts fit together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from turgor.limits.keys import Keys
from turgor.limits.lua import LIMITS_LUA, Script, ScriptError
from turgor.scheduler import forecast_book, pressure_book, scheduler

SCHEDULER_LUA = Path(scheduler.__file__).parent / "lua"
FOLDERS = (LIMITS_LUA, SCHEDULER_LUA)
PATHS = [path for folder in FOLDERS for path in sorted(folder.glob("*.lua"))]
PARTS = [path for folder in FOLDERS for path in sorted((folder / "parts").glob("*.lua"))]
KEYWORDS = {
    "and",
    "break",
    "do",
    "else",
    "elseif",
    "end",
    "false",
    "for",
    "function",
    "if",
    "in",
    "local",
    "nil",
    "not",
    "or",
    "repeat",
    "return",
    "then",
    "true",
    "until",
    "while",
    "goto",
}
BUILTINS = {
    "redis",
    "_G",
    "rawget",
    "server",
    "cjson",
    "struct",
    "cmsgpack",
    "bit",
    "math",
    "string",
    "table",
    "unpack",
    "pairs",
    "ipairs",
    "next",
    "select",
    "setmetatable",
    "type",
    "tonumber",
    "tostring",
    "error",
    "pcall",
    "assert",
}

NAME = re.compile(r"[A-Za-z_]\w*")
BINDINGS = (
    re.compile(r"\blocal\s+(?!function\b)([\w ,]+)"),
    re.compile(r"\blocal\s+function\s+(\w+)"),
    re.compile(r"\bfunction\b[^(\n]*\(([^)]*)\)"),
    re.compile(r"\bfor\s+([\w ,]+?)\s*(?:=|\bin\b)"),
)


def code_of(text: str) -> str:
    """The text without comments and strings; each keeps its length."""
    return re.sub(r"--[^\n]*|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"", lambda match: " " * len(match[0]), text)


def script(path: Path) -> Script:
    return Script(path, LIMITS_LUA)


def own_code(path: Path) -> str:
    """A script with its parts, without the lines that bind its slots."""
    whole = script(path)
    return code_of("".join(whole.source.splitlines(keepends=True)[len(whole.slots) :]))


def uses(code: str) -> Iterator[tuple[int, str]]:
    """Where each name is read: no field, no method, and no key of a table constructor."""
    for match in NAME.finditer(code):
        before, after = code[: match.start()].rstrip(), code[match.end() :].lstrip()
        is_key = before.endswith(("{", ",")) and re.match(r"=(?!=)", after)
        is_field = before.endswith((".", ":")) and not before.endswith("..")
        if match[0] not in KEYWORDS and not is_key and not is_field and not code[match.start() - 1].isdigit():
            yield match.start(), match[0]


def bindings(code: str) -> dict[str, int]:
    """Each name that is bound anywhere, and where first."""
    found: dict[str, int] = {}
    for binding in BINDINGS:
        for match in binding.finditer(code):
            for name in NAME.findall(match[1]):
                found[name] = min(found.get(name, len(code)), match.start())
    return found


each_script = pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.parent.name}/{path.stem}")
each_text = pytest.mark.parametrize("path", [*PATHS, *PARTS], ids=lambda path: path.name)


def test_all_scripts_are_looked_at() -> None:
    assert {path.stem for path in PATHS} >= {"acquire", "publish", "submit", "dispatch", "claim", "finish"}
    assert {each.path for each in (*scheduler.SCRIPTS, *forecast_book.SCRIPTS, *pressure_book.SCRIPTS)} == set(
        SCHEDULER_LUA.glob("*.lua")
    )


@each_script
def test_every_slot_that_the_header_declares_is_read(path: Path) -> None:
    read = {name for _, name in uses(own_code(path))}
    unread = [name for _, name, _ in script(path).slots if name not in read]
    assert not unread, f"declared and never read: {unread}"


@each_script
def test_every_name_that_is_read_was_bound_before(path: Path) -> None:
    """Lua takes any other name for a global, which fails in the middle of a call."""
    slots = {name for _, name, _ in script(path).slots}
    code = own_code(path)
    bound = bindings(code)
    unbound = {name for at, name in uses(code) if name not in slots | BUILTINS and bound.get(name, at + 1) > at}
    assert not unbound, f"read and never bound: {unbound}"


@each_text
def test_no_text_counts_the_positions_of_its_arguments(path: Path) -> None:
    assert not re.search(r"\b(KEYS|ARGV)\b", code_of(path.read_text()))


@each_script
def test_no_slot_hides_a_function_of_lua(path: Path) -> None:
    """A part that calls `pairs` would call the slot of that name."""
    hidden = {name for _, name, _ in script(path).slots} & BUILTINS
    assert not hidden, f"slots called like functions of Lua: {hidden}"


@each_script
def test_no_part_hides_a_slot_and_no_part_another_ones_names(path: Path) -> None:
    slots = [name for _, name, _ in script(path).slots]
    top = re.findall(r"^local (?:function )?(\w+)", code_of(script(path).source), re.MULTILINE)
    twice = {name for name in top if top.count(name) > 1}
    assert not twice, f"bound twice at the top, slots {slots}: {twice}"


@each_script
def test_the_only_key_is_the_realms_prefix(path: Path) -> None:
    """All keys of a realm share its hash tag, so one key tells a cluster the slot of all of them."""
    assert [name for kind, name, _ in script(path).slots if kind == "KEYS"] == ["realm"]


@each_script
def test_only_the_last_slot_takes_the_rest(path: Path) -> None:
    assert not any(rest for _, _, rest in script(path).slots[:-1])


@each_script
def test_the_header_says_what_is_returned(path: Path) -> None:
    header = re.match(r"(?:--[^\n]*\n)+", path.read_text())
    assert header is not None
    assert "\n-- Returns " in header[0]


@each_script
def test_the_server_accepts_the_text_and_calls_it_by_the_same_digest(path: Path, redis_client: Redis) -> None:
    assert redis_client.script_load(script(path).source) == script(path).sha


def test_what_only_its_own_part_uses_takes_none_of_the_200_locals_that_lua_knows(tmp_path: Path, redis_client: Redis) -> None:
    private = "".join(f"local only_here_{number} = {number}\n" for number in range(150))
    path = write(
        tmp_path,
        script="-- KEYS realm: any\n-- include: a.lua\n-- include: b.lua\nreturn {a + b, more}\n",
        a=f"{private}local a, more = only_here_149, 'text, a'\n",
        b=f"{private.replace('here', 'there')}local b\nlocal function set(value)\n  b = value\nend\nset(only_there_1)\n",
    )
    assert Script(path)(redis_client, "r") == [150, b"text, a"]


@each_script
def test_there_is_room_for_more_parts(path: Path, redis_client: Redis) -> None:
    redis_client.script_load("".join(f"local more_{number}\n" for number in range(50)) + script(path).source)


def test_every_part_is_included_by_somebody() -> None:
    included = {
        name
        for path in (*PATHS, *PARTS)
        for name in re.findall(r"^-- include(?: on demand)?: (\S+)$", path.read_text(), re.MULTILINE)
    }
    assert {name for name in included if not name.startswith("../")} == {path.name for path in PARTS}


def test_a_part_stands_in_a_script_once_whoever_includes_it() -> None:
    for path in PATHS:
        source = script(path).source
        for part in PARTS:
            body = re.sub(r"^-- include: \S+$", "", part.read_text(), flags=re.MULTILINE).strip()
            assert source.count(body[-200:]) <= 1, f"{part.name} in {path.name}"


def write(folder: Path, **texts: str) -> Path:
    """A folder of Lua: `script`, and its parts."""
    (folder / "parts").mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.lua" if name == "script" else folder / "parts" / f"{name}.lua").write_text(text)
    return folder / "script.lua"


def test_parts_that_include_each_other_are_an_error_that_shows_the_circle(tmp_path: Path) -> None:
    path = write(tmp_path, script="-- include: a.lua\n", a="-- include: b.lua\n", b="-- include: a.lua\n")
    with pytest.raises(ScriptError, match=r"script\.lua -> a\.lua -> b\.lua -> a\.lua"):
        Script(path)


def test_a_part_that_includes_itself_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, script="-- include: a.lua\n", a="-- include: a.lua\n")
    with pytest.raises(ScriptError, match="circle"):
        Script(path)


def test_a_part_that_is_missing_is_an_error_that_names_script_and_part(tmp_path: Path) -> None:
    path = write(tmp_path, script="-- include: a.lua\n", a="-- include: nowhere.lua\n")
    with pytest.raises(ScriptError, match=r"script\.lua: no part called nowhere\.lua"):
        Script(path)


def test_two_parts_may_include_a_third(tmp_path: Path, redis_client: Redis) -> None:
    path = write(
        tmp_path,
        script="-- include: a.lua\n-- include: b.lua\n-- KEYS realm: any\nreturn a + b\n",
        a="-- include: c.lua\nlocal a = c + 1\n",
        b="-- include: c.lua\nlocal b = c + 2\n",
        c="local c = 10\n",
    )
    assert Script(path)(redis_client, "r") == 23


def test_a_script_that_returns_before_an_include_does_not_need_it(tmp_path: Path, redis_client: Redis) -> None:
    path = write(
        tmp_path,
        script="-- KEYS realm: any\n-- ARGV early: 1 or 0\nif early == '1' then\n  return 1\nend\n-- include: a.lua\nreturn a\n",
        a="local a = redis.call('INCR', 'reached')\n",
    )
    assert Script(path)(redis_client, "r", 1) == 1
    assert not redis_client.exists("reached")
    assert Script(path)(redis_client, "r", 0) == 1
    assert redis_client.get("reached") == b"1"


def test_slots_become_locals_and_the_last_may_take_the_rest(tmp_path: Path, redis_client: Redis) -> None:
    path = write(
        tmp_path,
        script="-- KEYS realm: any\n-- ARGV first: one\n-- ARGV others...: the rest\nreturn {realm, first, unpack(others)}\n",
    )
    assert Script(path)(redis_client, "r", "a", "b", "c") == [b"r", b"a", b"b", b"c"]


@pytest.mark.parametrize("name", ["ready", "lane:5\x1fq\x1f\x1f\x1f\x1f", "done:28333333"])
def test_lua_and_python_call_a_key_by_the_same_name(name: str, redis_client: Redis, tmp_path: Path) -> None:
    keys = Keys("proj.a-1")
    path = write(tmp_path, script="-- include: keys.lua\n-- KEYS realm: prefix\n-- ARGV name: of the key\nreturn key(name)\n")
    assert Script(path, LIMITS_LUA)(redis_client, keys.prefix, name).decode() == keys(name)


def test_lua_and_python_call_a_limits_state_by_the_same_name(redis_client: Redis, tmp_path: Path) -> None:
    keys = Keys("test")
    path = write(
        tmp_path,
        script="-- include: clock.lua\n-- include: keys.lua\n-- include: ledger.lua\n-- KEYS realm: prefix\n-- ARGV now_us: time\n"
        "return ledger.limit('service:api', {id = 'requests/1m'}).key\n",
    )
    assert Script(path, LIMITS_LUA)(redis_client, keys.prefix, "").decode() == keys.limit("service:api", "requests/1m")
