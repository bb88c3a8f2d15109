"""The boundary between Python and Lua: headers that are true, parts that come once, scripts that come back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from redis import Redis

from turgor.limits.batch import ACQUIRE_MANY
from turgor.limits.line import LEAVE_LINE, TAKE_TURN
from turgor.limits.lua import LIMITS_LUA, Script, ScriptError
from turgor.limits.publication import BRING, PUBLISH
from turgor.limits.rate_token import REPORT, SETTLE
from turgor.limits.regulator import CLOSE, OBSERVE, PAUSE, REGULATORS, RESUME
from turgor.limits.retry_ledger import SPEND_RETRY
from turgor.limits.service_health import HEALTH
from turgor.limits.teller import ACQUIRE, PEEK

SCRIPTS = [
    ACQUIRE,
    ACQUIRE_MANY,
    BRING,
    PEEK,
    SETTLE,
    PUBLISH,
    PAUSE,
    RESUME,
    CLOSE,
    REGULATORS,
    OBSERVE,
    TAKE_TURN,
    LEAVE_LINE,
    REPORT,
    HEALTH,
    SPEND_RETRY,
]


def write(folder: Path, **files: str) -> Path:
    (folder / "parts").mkdir()
    for name, text in files.items():
        path = folder / f"{name}.lua" if name == "main" else folder / "parts" / f"{name}.lua"
        path.write_text(text)
    return folder / "main.lua"


def test_every_script_of_the_room_is_tested_here() -> None:
    assert {script.path.name for script in SCRIPTS} == {path.name for path in LIMITS_LUA.glob("*.lua")}


@pytest.mark.parametrize("script", SCRIPTS, ids=repr)
def test_every_slot_that_is_declared_is_read_and_none_is_read_undeclared(script: Script) -> None:
    code = re.sub(r"--.*", "", script.source)
    declared, body = code.split("\n", maxsplit=len(script.slots))[:-1], code.split("\n", maxsplit=len(script.slots))[-1]

    assert len(declared) == len(script.slots)
    assert [name for _, name, _ in script.slots if not re.search(rf"\b{name}\b", body)] == []
    assert not re.search(r"\b(KEYS|ARGV)\b", body)


def test_slots_become_locals(tmp_path: Path, redis_client: Redis) -> None:
    path = write(tmp_path, main="-- KEYS realm: a\n-- ARGV one: b\n-- ARGV rest...: c\nreturn {realm, one, #rest, rest[2]}\n")

    assert Script(path)(redis_client, "r", "1", "2", "3") == [b"r", b"1", 2, b"3"]


def test_a_part_comes_once_and_before_who_asks_for_it(tmp_path: Path, redis_client: Redis) -> None:
    path = write(
        tmp_path,
        main="-- KEYS k: a\n-- include: top.lua\n-- include: base.lua\nreturn top .. base\n",
        top="-- include: base.lua\nlocal top = base .. 'top'\n",
        base="local base = 'base'\n",
    )

    script = Script(path)

    assert script(redis_client, "k") == b"basetopbase"
    assert script.source.count("local base") == 1


def test_parts_that_include_each_other_are_an_error_that_shows_the_circle(tmp_path: Path) -> None:
    path = write(tmp_path, main="-- include: a.lua\n", a="-- include: b.lua\n", b="-- include: a.lua\n")

    with pytest.raises(ScriptError, match=r"main\.lua -> a\.lua -> b\.lua -> a\.lua: an include in a circle"):
        Script(path)


def test_a_part_that_is_missing_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"main\.lua: no part called a\.lua"):
        Script(write(tmp_path, main="-- include: a.lua\n"))


def test_a_server_that_forgot_a_script_is_told_it_again(tmp_path: Path, redis_client: Redis) -> None:
    script = Script(write(tmp_path, main="-- KEYS k: a\nreturn k\n"))
    for _ in range(2):
        redis_client.script_flush()
        assert script(redis_client, "x") == b"x"


def test_a_part_on_demand_is_made_when_it_is_asked_for(tmp_path: Path, redis_client: Redis) -> None:
    path = write(
        tmp_path,
        main="-- KEYS k: a\n-- ARGV ask: 1 or 0\n-- include on demand: part.lua\nreturn ask == '1' and load_part() or 'spared'\n",
        part="local part = redis.call('INCR', 'made')\n",
    )
    assert Script(path)(redis_client, "k", 0) == b"spared"
    assert not redis_client.exists("made")
    assert Script(path)(redis_client, "k", 1) == 1


def test_a_part_on_demand_that_is_there_already_is_the_same_one(tmp_path: Path, redis_client: Redis) -> None:
    path = write(
        tmp_path,
        main="-- KEYS k: a\n-- include: part.lua\n-- include on demand: part.lua\nreturn part == load_part() and k\n",
        part="local part = {}\n",
    )
    assert Script(path)(redis_client, "k") == b"k"


def test_a_part_cannot_be_included_after_it_was_hidden_in_one_on_demand(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main="-- include on demand: outer.lua\n-- include: inner.lua\n",
        outer="-- include: inner.lua\nlocal outer = inner\n",
        inner="local inner = 1\n",
    )
    with pytest.raises(ScriptError, match=r"main\.lua -> inner\.lua: made on demand before"):
        Script(path)
