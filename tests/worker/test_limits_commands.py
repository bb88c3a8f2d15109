"""`turgor limits …`, as an operator uses it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from celery import _state as celery_state
from click.testing import CliRunner, Result
from redis import Redis

from crew import AppSettings, Process
from turgor.limits import LimitsRegistry, VersionConflict
from turgor.worker.commands import turgor as command

Run = Callable[..., Result]

API: dict[str, object] = {"services": {"api": {"requests_per_minute": 60}}}
CHANGED = "[services.api]\nrequests_per_minute = 30\nmax_in_flight = 2\n"


@pytest.fixture
def proj(settings: AppSettings) -> ModuleType:
    return settings.but(limits=API).load()


@pytest.fixture
def registry(proj: ModuleType) -> LimitsRegistry:
    return proj.turgor.registry


@pytest.fixture(autouse=True)
def no_tasks_of_other_apps() -> Iterator[None]:
    """Advice looks at all tasks that the app has, and Celery adds those of every app that this process has imported."""
    finalizers: set[Any] = vars(celery_state)["_on_app_finalizers"]
    others = {each for each in finalizers if each.__module__ != "celery.app.builtins"}
    finalizers -= others
    yield
    finalizers |= others


@pytest.fixture
def run(proj: ModuleType) -> Run:
    """`turgor limits …` for the app. The exit status is asserted."""

    def invoke(*arguments: str, status: int = 0) -> Result:
        result = CliRunner().invoke(command, ["limits", *arguments], obj=SimpleNamespace(app=proj.app))
        assert result.exit_code == status, result.output
        return result

    return invoke


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "limits.toml"
    path.write_text(CHANGED)
    return path


def test_looking_changes_nothing(run: Run, registry: LimitsRegistry, file: Path) -> None:
    """Somebody looks with another checkout: `show` once put the limits of that in force."""
    assert "No limits are in force. The app brings limits" in run("show").output
    assert "No limits were ever in force" in run("history").output
    run("diff", str(file), status=1)
    run("check", str(file))
    assert registry.version() == 0


def test_show_says_since_when_and_by_whom(run: Run, registry: LimitsRegistry) -> None:
    applied = registry.apply(API, by="ada", note="the contract")
    shown = run("show").output
    assert shown.splitlines()[0] == f"version 1 by ada at {applied.at:%Y-%m-%d %H:%M:%S} UTC: the contract"
    assert "service:api" in shown
    assert "60 requests per 1m" in shown
    as_json = json.loads(run("show", "--json").output)
    assert (as_json["in_force"]["version"], as_json["in_force"]["by"], as_json["limits"]) == (1, "ada", API)


def test_show_has_what_a_table_says_beside_limits(run: Run, registry: LimitsRegistry) -> None:
    """Breakers were in force and shown nowhere but in the JSON."""
    tokens = {"per_minute": 900, "estimate": 30}
    registry.apply({"services": {"api": {"breaker": {"cool_down": "9s"}, "token_limits": tokens}, "mailer": {}}})
    assert [" ".join(line.split()) for line in run("show").output.splitlines()[1:]] == [
        "service:api 900 tokens per 1m",
        "service:api token_limits.estimate = 30",
        "service:api breaker = true",
        'service:api breaker.cool_down = "9s"',
        "service:mailer no limits of its own",
    ]


def test_apply_shows_the_changes_and_the_new_version(run: Run, registry: LimitsRegistry, file: Path) -> None:
    output = run("apply", str(file), "--by", "ada", "--note", "less").output
    assert output.splitlines()[:2] == [
        "service:api requests_per_minute: 60 -> 30",
        "service:api max_in_flight: none -> 2",
    ]
    assert "In force: version 2 by ada at" in output
    assert [each.note for each in registry.history()] == ["less", "brought by proj"], "the app's own came first"
    assert "Nothing to change. In force: version 2" in run("apply", str(file)).output


def test_apply_refuses_if_another_version_is_in_force_than_was_read(run: Run, registry: LimitsRegistry, file: Path) -> None:
    registry.apply(API)
    registry.amend("global", {"max_in_flight": 9}, by="bob")
    refused = run("apply", str(file), "--expect", "1", status=1)
    assert "version 1 of the limits was expected, and version 2 by bob at" in refused.output
    assert "read them again" in refused.output
    assert registry.version() == 2
    run("apply", str(file), "--expect", "2")


def test_somebody_else_who_applies_meanwhile_is_not_undone(
    run: Run, registry: LimitsRegistry, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.apply(API)
    at = LimitsRegistry.at

    def read_and_be_overtaken(self: LimitsRegistry, version: int) -> object:
        found = at(self, version)
        monkeypatch.setattr(LimitsRegistry, "at", at)
        registry.amend("global", {"max_in_flight": 9})
        return found

    monkeypatch.setattr(LimitsRegistry, "at", read_and_be_overtaken)
    run("apply", str(file), status=1)
    assert registry.at(registry.version()).global_.max_in_flight == 9
    monkeypatch.setattr(LimitsRegistry, "at", read_and_be_overtaken)
    registry.amend("global", {"max_in_flight": 1})
    monkeypatch.setattr(LimitsRegistry, "at", read_and_be_overtaken)
    run("set", "service:api", "max_in_flight=3")
    latest = registry.at(registry.version())
    assert (latest.global_.max_in_flight, latest.services["api"].max_in_flight) == (9, 3)


def test_diff_ends_as_diff_does(run: Run, registry: LimitsRegistry, file: Path, tmp_path: Path) -> None:
    registry.apply(str(file))
    assert run("diff", str(file)).output == ""
    registry.amend("service:api", {"max_in_flight": 3})
    assert run("diff", str(file), status=1).output == "service:api max_in_flight: 3 -> 2\n"
    assert run("diff", "--version", "1", status=1).output == "service:api max_in_flight: 3 -> 2\n"
    run("diff", str(tmp_path / "missing.toml"), status=2)
    run("diff", "--version", "7", status=2)
    run("diff", status=2)


def test_an_earlier_version_is_put_in_force_again(run: Run, registry: LimitsRegistry) -> None:
    registry.apply(API)
    registry.amend("service:api", {"requests_per_minute": 1})
    run("apply", "--version", "1")
    assert registry.at(3).to_dict() == API
    assert "version 9 of the limits is not here: the last one is 3" in run("apply", "--version", "9", status=1).output


def test_set_changes_what_it_names(run: Run, registry: LimitsRegistry) -> None:
    output = run("set", "service:api", "requests_per_minute=none", "token_limits.per_minute=50_000").output
    assert "service:api requests_per_minute: 60 -> none\nservice:api token_limits.per_minute: none -> 50000\n" in output
    run("set", "loop:planner-7", 'windows=[{ limit = 5, per = "10s" }]', "--by", "ada")
    run("set", "loop:planner-8", "max_in_flight=1")
    run("set", "loop:planner-8", "--remove")
    assert registry.at(registry.version()).to_dict() == {
        "services": {"api": {"token_limits": {"per_minute": 50_000}}},
        "loops": {"planner-7": {"windows": [{"limit": 5, "per": "10s"}]}},
    }


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["service:api", "request_per_minute=5"], 1, "request_per_minute: unknown key; did you mean 'requests_per_minute'?"),
        (["service:api", "requests_per_minute=fast"], 1, "'fast' is not allowed; use a whole number of at least 1"),
        (["service:api", "requests_per_minute=1\nx=2"], 1, "is not allowed; use a whole number of at least 1"),
        (["service:apy", "max_in_flight=1"], 1, "unknown service 'apy'. Did you mean 'api'?"),
        (["serve:api", "max_in_flight=1"], 1, "scope 'serve:api': use 'global', 'service:…'"),
        (["service:api", "max_in_flight"], 2, "'max_in_flight' is no setting: use KEY=VALUE"),
        (["service:api"], 2, "give settings as KEY=VALUE, or --remove"),
    ],
)
def test_set_says_what_is_wrong_and_changes_nothing(
    run: Run, registry: LimitsRegistry, arguments: list[str], status: int, says: str
) -> None:
    registry.apply(API)
    assert says in run("set", *arguments, status=status).output
    assert registry.version() == 1


def test_a_new_service_is_named_as_such(run: Run, registry: LimitsRegistry) -> None:
    run("set", "service:git", "max_in_flight=1", "--new")
    assert registry.at(2).services["git"].max_in_flight == 1


def test_history_is_the_last_one_first(run: Run, registry: LimitsRegistry) -> None:
    for number in range(12):
        registry.amend("global", {"max_in_flight": number + 1}, by=f"user {number}")
    lines = run("history").output.splitlines()
    assert [line.split(" at ")[0] for line in lines[:2]] == ["version 12 by user 11", "version 11 by user 10"]
    assert len(lines) == 10
    assert [each["version"] for each in json.loads(run("history", "-n", "3", "--json").output)] == [12, 11, 10]


def test_check_says_all_mistakes_at_once(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('[global]\nmax_in_flite = 1\n[services.api]\nrequests_per_minute = 0\n[tasks]\n"x" = "git"\n')
    output = run("check", str(bad), status=1).output
    assert [each in output for each in ("max_in_flite: unknown key", "requests_per_minute: 0", "service 'git'")] == [True] * 3
    bad.write_text("[global\n")
    assert "line 1, column 8" in run("check", str(bad), status=1).output


def test_check_gives_advice_and_is_strict_if_asked(run: Run, tmp_path: Path) -> None:
    useless = tmp_path / "limits.toml"
    useless.write_text(
        "[global]\nrequests_per_second = 1\nrequests_per_minute = 100\n[services.api]\n[services.single]\n[services.llm]\n"
    )
    output = run("check", str(useless)).output
    assert "global.requests_per_minute: 100 in 1m can never bind, because requests_per_second = 1 in 1s is tighter" in output
    assert "no mistakes" in output
    assert "2 warnings, and --strict" in run("check", str(useless), "--strict", status=1).output


def test_check_knows_what_the_apps_tasks_cost(run: Run, tmp_path: Path) -> None:
    """`proj.declared` has weight 2 and 5 tokens, and the file would have every submit of it refused."""
    path = tmp_path / "limits.toml"
    path.write_text("[services.api]\ntoken_limits = { per_minute = 4 }\n[services.single]\n[services.llm]\n")
    output = run("check", str(path)).output
    assert "task 'proj.declared': costs 5, but service:api tokens/1m never holds more than 4" in output
    path.write_text("[services.apis]\n")
    assert "task 'proj.call': unknown service 'api'. Did you mean 'apis'?" in run("check", str(path)).output
    path.write_text("[services.api]\nrequests_per_minute = 2\n[services.single]\n[services.llm]\n")
    assert run("check", str(path), "--strict").output == f"{path}: 1 limit on 3 scopes, no mistakes\n"


def test_an_app_that_starts_again_does_not_undo_a_command(run: Run, settings: AppSettings, redis_client: Redis) -> None:
    run("set", "service:api", "requests_per_minute=7")
    settings.but(limits=API).load().turgor.start()
    assert "7 requests per 1m" in run("show").output
    settings.but(limits={"services": {"api": {"requests_per_minute": 8}}}).load().turgor.start()
    assert "8 requests per 1m" in run("show").output


def test_the_same_from_python(proj: ModuleType) -> None:
    turgor = proj.turgor
    applied = turgor.apply_limits({"services": {"api": {"max_in_flight": 1}}}, by="ada", note="why")
    assert (applied.version, applied.by, applied.note) == (2, "ada", "why")
    assert turgor.limits_history(1) == (applied,)
    with pytest.raises(VersionConflict):
        turgor.apply_limits(API, expected_version=1)


def test_the_commands_are_celerys_too(settings: AppSettings, redis_client: Redis, tmp_path: Path) -> None:
    arguments = ["-m", "celery", "-A", "proj", "turgor", "limits", "set", "service:api", "max_in_flight=4"]
    process = Process(arguments, settings.environment, tmp_path / "log")
    process.start()
    try:
        assert process.wait() == 0, process.log
    except subprocess.TimeoutExpired:
        process.stop()
        raise
    assert "service:api max_in_flight: none -> 4" in process.log
