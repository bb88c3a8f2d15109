"""Pausing by the API and by the commands."""

from __future__ import annotations

from types import ModuleType

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from crew import AppSettings
from turgor.limits import InvalidScope, UnknownService
from turgor.worker.commands import turgor as group


@pytest.fixture
def proj(redis_client: Redis, settings: AppSettings) -> ModuleType:
    return settings.load()


def run(proj: ModuleType, *arguments: str) -> Result:
    return CliRunner().invoke(group, arguments, obj=proj, catch_exceptions=False)


def test_a_task_of_a_paused_service_waits_and_goes_on_when_it_is_resumed(proj: ModuleType) -> None:
    assert str(proj.turgor.pause("service:api", by="ops")) == "service:api: paused by ops"
    result = proj.call.delay(1)

    assert str(proj.turgor.explain(result.id)) == (
        f"{result.id}: waiting, 0 ahead in its lane, held until it is resumed: service:api paused"
    )
    assert proj.turgor.resume("service:api").is_open
    assert proj.turgor.dispatcher().run_once().released == 1


def test_a_service_without_limits_can_be_paused(redis_client: Redis, settings: AppSettings) -> None:
    proj = settings.but(limits={"services": {"api": {}}}).load()
    proj.turgor.pause("service:api")
    result = proj.call.delay(1)

    assert proj.turgor.explain(result.id).held_by == "service:api paused"


def test_a_task_that_no_service_of_the_limits_concerns_goes_straight_to_the_broker(proj: ModuleType) -> None:
    proj.turgor.pause("global")
    result = proj.free.delay(1)

    assert proj.turgor.explain(result.id).state == "unknown"


def test_the_commands_pause_and_resume(proj: ModuleType) -> None:
    assert run(proj, "pause", "service:api", "--by", "ops").output == "service:api: paused by ops\n"
    assert run(proj, "status").output.splitlines()[1:] == ["service:api: paused by ops"]
    assert run(proj, "resume", "service:api").output == "service:api: open\n"
    assert len(run(proj, "status").output.splitlines()) == 1


def test_the_commands_take_a_name_that_only_one_scope_has(proj: ModuleType) -> None:
    assert run(proj, "pause", "api/chat", "--by", "").output == "endpoint:api/chat: paused\n"
    assert run(proj, "resume", "api/chat").output == "endpoint:api/chat: open\n"
    assert run(proj, "pause", "apj").output.startswith("Error: scope 'apj': the limits name no such scope;")


def test_whoever_types_the_command_is_remembered(proj: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "eve")

    assert run(proj, "pause", "loop:planner-7").output == "loop:planner-7: paused by eve\n"


def test_an_unknown_service_is_answered_with_the_known_ones(proj: ModuleType) -> None:
    known = "Known: " + ", ".join(proj.turgor.view.config().services)
    for act in (proj.turgor.pause, proj.turgor.resume):
        with pytest.raises(UnknownService, match=rf"^unknown service 'apj'\. Did you mean 'api'\? {known}$"):
            act("service:apj")
    result = run(proj, "pause", "service:apj")
    assert (result.exit_code, result.output) == (1, f"Error: unknown service 'apj'. Did you mean 'api'? {known}\n")


@pytest.mark.parametrize("scope", ["api", "service:", "loop:*", ""])
def test_what_is_no_scope_is_refused(proj: ModuleType, scope: str) -> None:
    with pytest.raises(InvalidScope):
        proj.turgor.pause(scope)
