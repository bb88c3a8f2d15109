"""A mistake in `[tasks]` names the task, the target that does not exist, and the one that was meant."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from turgor.limits.config import LimitsConfig
from turgor.limits.errors import ConfigError


def problems_of(source: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        LimitsConfig.load(source)
    return list(caught.value.problems)


SERVICES = """
[services.llm_api.endpoints.chat]
[services.git]
[services.open.endpoints."*"]
"""


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("lm_api", "service 'lm_api' is not defined; did you mean 'llm_api'?"),
        ("lm_api/chat", "service 'lm_api' is not defined; did you mean 'llm_api'?"),
        ("stripe", "service 'stripe' is not defined; use one of 'git', 'llm_api', 'open'"),
        ("llm_api/chta", "endpoint 'llm_api/chta' is not defined; did you mean 'llm_api/chat'?"),
        ("git/clone-everything", "endpoint 'git/clone-everything' is not defined; use one of 'git'"),
        ("", "'' names no service; use 'service' or 'service/endpoint'"),
        ("/chat", "'/chat' names no service; use 'service' or 'service/endpoint'"),
        ("llm_api/", "'llm_api/' names no endpoint; use 'llm_api' alone, or add the name of an endpoint"),
        ("open/*", "'open/*' names no endpoint; use 'open' alone, or add the name of an endpoint"),
        ("open/a\tb", "this name is not possible; use printable characters only"),
    ],
)
def test_a_task_maps_to_what_is_defined(target: str, problem: str) -> None:
    tables = {**tomllib.loads(SERVICES), "tasks": {"proj.x": target}}
    assert problems_of(tables) == [f'tasks."proj.x": {problem}']


@pytest.mark.parametrize("target", [5, True, None, ["git"], {"service": "git"}])
def test_a_task_maps_to_text(target: object) -> None:
    (problem,) = problems_of({"services": {"git": {}}, "tasks": {"x": target}})
    assert problem.startswith("tasks.x: ")
    assert problem.endswith(" is not allowed; use 'service' or 'service/endpoint'")


def test_a_task_has_a_name() -> None:
    problem = "tasks.\"\": the task name is empty; give a name or a pattern such as 'proj.tasks.*'"
    assert problems_of({"services": {"git": {}}, "tasks": {"": "git"}}) == [problem]


def test_a_task_cannot_map_to_a_service_when_none_is_defined() -> None:
    assert problems_of({"tasks": {"x": "git"}}) == ["tasks.x: service 'git' is not defined; no service is"]


def test_a_task_name_can_be_stored() -> None:
    """A lone surrogate came back from the store as another character, so the stored limits were not the given ones."""
    problem = 'tasks."\ufffd\ufffd\ufffd": this name is not possible; use text that UTF-8 can write'
    assert problems_of({"services": {"git": {}}, "tasks": {"\ud800": "git"}}) == [problem]


def test_a_mistake_in_a_service_makes_none_in_the_tasks() -> None:
    tables: dict[str, Any] = {
        "services": {"git": {"max_in_flight": 0}, 5: {}, "mail": 7},
        "tasks": {"x": "git", "y": "mail", "z": "gti"},
    }
    assert problems_of(tables) == [
        "services.git.max_in_flight: 0 is not allowed; use a whole number of at least 1",
        "services[5]: this key is not possible; use text",
        "services.mail: 7 is not allowed; use a table, such as { requests_per_minute = 60 }",
        "tasks.z: service 'gti' is not defined; did you mean 'git'?",
    ]
