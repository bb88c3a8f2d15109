"""What the limits state: the definitions of scopes, and the services of tasks."""

from __future__ import annotations

import tomllib
from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import ValidationError

from turgor.limits.config import LimitsConfig
from turgor.limits.errors import ConfigError, UnknownService
from turgor.limits.limit import Limit, LimitKind, Unit
from turgor.limits.order_table import GlobalTable
from turgor.limits.scope_table import ServiceTable, Window

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

LIMITS_TOML = """
[global]
requests_per_minute = 600
burst_capacity = 50
max_in_flight = 32

[services.llm_api]
requests_per_minute = 60
requests_per_hour = 2000
burst_capacity = 10
max_in_flight = 8
token_limits = { per_minute = 100_000 }

[services.llm_api.endpoints.chat]
requests_per_minute = 40

[services.llm_api.endpoints."*"]
windows = [{ limit = 5, per = "10s" }]

[services.git_operations]

[loop_types.planner]
requests_per_minute = 30

[loops."*"]
requests_per_minute = 10

[loops.planner-7]
requests_per_minute = 20

[tasks]
"proj.tasks.complete" = "llm_api/chat"
"proj.git.*" = "git_operations"
"""


def window(capacity: int, period_us: int, unit: Unit = Unit.REQUESTS) -> Limit:
    return Limit(LimitKind.WINDOW, capacity, unit, period_us)


def bucket(capacity: int, refill: int, period_us: int) -> Limit:
    return Limit(LimitKind.BUCKET, capacity, Unit.REQUESTS, period_us, refill)


def in_flight(capacity: int) -> Limit:
    return Limit(LimitKind.IN_FLIGHT, capacity)


@pytest.fixture
def config() -> LimitsConfig:
    return LimitsConfig.load(tomllib.loads(LIMITS_TOML))


def limits_of(table: dict[str, Any]) -> tuple[Limit, ...]:
    return LimitsConfig.load({"services": {"llm_api": table}}).definitions()["service:llm_api"]


def mapped(tasks: dict[str, str]) -> LimitsConfig:
    return LimitsConfig.load({"services": {"one": {}, "two": {}, "three": {}}, "tasks": tasks})


class TestDefinitions:
    def test_every_named_scope_and_template_has_its_limits(self, config: LimitsConfig) -> None:
        assert config.definitions() == {
            "global": (window(600, MINUTE), bucket(50, 600, MINUTE), in_flight(32)),
            "service:llm_api": (
                window(60, MINUTE),
                window(2000, HOUR),
                bucket(10, 60, MINUTE),
                in_flight(8),
                window(100_000, MINUTE, Unit.TOKENS),
            ),
            "endpoint:llm_api/chat": (window(40, MINUTE),),
            "endpoint:llm_api/*": (window(5, 10 * SECOND),),
            "service:git_operations": (),
            "loop_type:planner": (window(30, MINUTE),),
            "loop:*": (window(10, MINUTE),),
            "loop:planner-7": (window(20, MINUTE),),
        }

    def test_no_limits_define_nothing(self) -> None:
        assert LimitsConfig.load({}).definitions() == {}
        assert LimitsConfig.load({"global": {}}).definitions() == {}

    @pytest.mark.parametrize(
        ("key", "period_us"),
        [
            ("requests_per_second", SECOND),
            ("requests_per_minute", MINUTE),
            ("requests_per_hour", HOUR),
            ("requests_per_day", DAY),
        ],
    )
    def test_a_rate_of_requests_is_a_window(self, key: str, period_us: int) -> None:
        assert limits_of({key: 7}) == (window(7, period_us),)

    @pytest.mark.parametrize(
        ("key", "period_us"),
        [("per_second", SECOND), ("per_minute", MINUTE), ("per_hour", HOUR), ("per_day", DAY)],
    )
    def test_a_rate_of_tokens_is_a_window_of_tokens(self, key: str, period_us: int) -> None:
        assert limits_of({"token_limits": {key: 7}}) == (window(7, period_us, Unit.TOKENS),)

    def test_windows_of_any_length_stand_in_order_of_their_length(self) -> None:
        table: dict[str, Any] = {
            "requests_per_minute": 60,
            "windows": [{"limit": 500, "per": "1d"}, {"limit": 5, "per": 2.5}],
            "token_limits": {"windows": [{"limit": 9, "per": "1m30s"}, {"limit": 1, "per": "500ms"}]},
        }
        assert limits_of(table) == (
            window(5, 2_500_000),
            window(60, MINUTE),
            window(500, DAY),
            window(1, 500_000, Unit.TOKENS),
            window(9, 90 * SECOND, Unit.TOKENS),
        )

    def test_a_burst_is_refilled_at_the_rate_of_the_shortest_window(self) -> None:
        table: dict[str, Any] = {"requests_per_hour": 100, "windows": [{"limit": 20, "per": "10s"}], "burst_capacity": 3}
        assert bucket(3, refill=20, period_us=10 * SECOND) in limits_of(table)

    def test_a_burst_may_be_as_large_as_the_lowest_window(self) -> None:
        table = {"requests_per_second": 100, "requests_per_day": 4, "burst_capacity": 4}
        assert bucket(4, refill=100, period_us=SECOND) in limits_of(table)

    def test_the_same_length_may_be_limited_in_requests_and_in_tokens(self) -> None:
        table: dict[str, Any] = {"requests_per_minute": 1, "token_limits": {"per_minute": 2}}
        assert limits_of(table) == (window(1, MINUTE), window(2, MINUTE, Unit.TOKENS))

    def test_none_is_no_limit(self) -> None:
        assert limits_of({"requests_per_minute": None, "max_in_flight": None, "burst_capacity": None}) == ()

    def test_no_two_limits_of_a_scope_share_an_id(self, config: LimitsConfig) -> None:
        for limits in config.definitions().values():
            assert len({limit.id for limit in limits}) == len(limits)


class TestScopesOfTasks:
    def test_a_task_is_mapped_by_its_name(self, config: LimitsConfig) -> None:
        assert config.scopes_of("proj.tasks.complete") == ("llm_api", "chat")

    def test_a_task_is_mapped_by_a_glob(self, config: LimitsConfig) -> None:
        assert config.scopes_of("proj.git.push") == ("git_operations", "")

    @pytest.mark.parametrize("name", ["proj.tasks.completed", "proj.tasks", "PROJ.GIT.push", "x.proj.git.push", ""])
    def test_a_task_that_nothing_maps_has_no_scopes(self, config: LimitsConfig, name: str) -> None:
        assert config.scopes_of(name) == ("", "")

    @pytest.mark.parametrize(
        ("name", "service"),
        [("proj.git.push", "one"), ("proj.git.pull", "two"), ("proj.mail", "three"), ("proj.git.", "two")],
    )
    def test_the_exact_name_wins_then_the_longest_glob(self, name: str, service: str) -> None:
        config = mapped({"proj.*": "three", "proj.git.push": "one", "proj.git.*": "two"})
        assert config.scopes_of(name) == (service, "")

    def test_of_equally_long_globs_the_one_with_fewer_wildcards_wins_wherever_it_stands(self) -> None:
        assert mapped({"a.b?": "one", "a.??": "two"}).scopes_of("a.bc") == ("one", "")
        assert mapped({"a.??": "two", "a.b?": "one"}).scopes_of("a.bc") == ("one", "")

    @pytest.mark.parametrize(
        ("glob", "match", "other"), [("a.?", "a.b", "a.bc"), ("a.[xy]", "a.x", "a.z"), ("a.[!x]", "a.y", "a.x")]
    )
    def test_globs_know_single_characters_and_sets(self, glob: str, match: str, other: str) -> None:
        config = mapped({glob: "one"})
        assert (config.scopes_of(match), config.scopes_of(other)) == (("one", ""), ("", ""))

    def test_a_name_that_looks_like_a_glob_matches_itself(self) -> None:
        assert mapped({"a[1]": "one"}).scopes_of("a[1]") == ("one", "")

    def test_an_endpoint_may_have_slashes(self) -> None:
        config = LimitsConfig.load({"services": {"api": {"endpoints": {"v1/chat": {}}}}, "tasks": {"t": "api/v1/chat"}})
        assert config.scopes_of("t") == ("api", "v1/chat")

    def test_a_template_stands_for_endpoints_that_are_not_named(self) -> None:
        config = LimitsConfig.load({"services": {"api": {"endpoints": {"*": {}}}}, "tasks": {"t": "api/chat"}})
        assert config.scopes_of("t") == ("api", "chat")

    def test_names_made_up_at_run_time_do_not_fill_the_memory(self) -> None:
        config = mapped({"proj.*": "one"})
        for number in range(10_500):
            assert config.scopes_of(f"proj.{number}") == ("one", "")
        assert len(config._task_mapping._found) == 500  # pyright: ignore[reportPrivateUsage]


class TestCheckService:
    @pytest.mark.parametrize(("service", "endpoint"), [("", ""), ("llm_api", ""), ("llm_api", "chat"), ("git_operations", "new")])
    def test_known_services_pass_with_any_endpoint(self, config: LimitsConfig, service: str, endpoint: str) -> None:
        config.check_service(service, endpoint)

    def test_an_unknown_service_names_the_task_and_what_was_meant(self, config: LimitsConfig) -> None:
        with pytest.raises(UnknownService) as caught:
            config.check_service("lm_api", "chat", task="proj.x")
        assert str(caught.value) == (
            "task 'proj.x': unknown service 'lm_api'. Did you mean 'llm_api'? Known: git_operations, llm_api"
        )

    def test_an_endpoint_needs_its_service(self, config: LimitsConfig) -> None:
        with pytest.raises(UnknownService, match="unknown service ''"):
            config.check_service("", "chat")


class TestSources:
    def test_a_config_is_returned_as_it_is(self, config: LimitsConfig) -> None:
        assert LimitsConfig.load(config) is config

    def test_a_file_is_read_by_its_path(self, config: LimitsConfig, tmp_path: Path) -> None:
        file = tmp_path / "limits.toml"
        file.write_text(LIMITS_TOML)
        assert LimitsConfig.load(file) == LimitsConfig.load(str(file)) == config

    def test_any_mapping_will_do_and_is_not_kept(self) -> None:
        services = OrderedDict[str, Any](api={"endpoints": OrderedDict[str, Any](chat={})})
        config = LimitsConfig.load(MappingProxyType({"services": services}))
        services["other"] = {}
        assert list(config.services) == ["api"]
        assert type(config.services) is type(config.services["api"].endpoints) is dict

    @pytest.mark.parametrize("source", [None, 5, [1], object])
    def test_another_source_is_one_problem(self, source: Any) -> None:
        with pytest.raises(ConfigError, match=r"^limits: .* is not allowed; use a path, a dict or a LimitsConfig$"):
            LimitsConfig.load(source)


class TestPython:
    def test_a_config_can_be_written_in_python(self) -> None:
        config = LimitsConfig(
            global_=GlobalTable(max_in_flight=3),
            services={"api": ServiceTable(windows=(Window(limit=5, per="60s"),))},
            tasks={"proj.*": "api"},
        )
        assert config == LimitsConfig.load(
            {
                "global": {"max_in_flight": 3},
                "services": {"api": {"windows": [{"limit": 5, "per": "1m"}]}},
                "tasks": {"proj.*": "api"},
            }
        )

    def test_what_is_written_in_python_is_checked_too(self) -> None:
        with pytest.raises(ValidationError, match="service 'ap' is not defined"):
            LimitsConfig(services={"api": ServiceTable()}, tasks={"t": "ap"})

    def test_a_config_does_not_change(self, config: LimitsConfig) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            config.global_.max_in_flight = 5  # pyright: ignore[reportAttributeAccessIssue]
