"""A config goes to a store and comes back as it was; its digest names what it states."""

from __future__ import annotations

import copy
import pickle
import tomllib

import pytest

from turgor.limits.config import LimitsConfig
from turgor.limits.errors import ConfigError

LIMITS_TOML = """
[global]
requests_per_minute = 600
burst_capacity = 50
backlog = { limit = 10_000, bytes = "64MB" }
priority_ageing = "5m"

[services.llm_api]
windows = [{ limit = 5, per = "10s" }]
token_limits = { per_minute = 100_000 }
reserve = { share = 0.2, priority = 7 }
breaker = {}
degradation = [{ breaker = "open", hold = true }, { wait = "1m", shed_below = 5 }]

[services.llm_api.endpoints.chat]
max_in_flight = 8

[services.git_operations]

[loop_types.planner]
requests_per_minute = 30

[loops."*"]
requests_per_minute = 10
backlog = { limit = 100, overflow = "block", block_for = "2s" }
fair_weight = 2

[tasks]
"proj.tasks.complete" = "llm_api/chat"
"proj.git.*" = "git_operations"
"""


@pytest.fixture
def config() -> LimitsConfig:
    return LimitsConfig.load(tomllib.loads(LIMITS_TOML))


class TestRoundTrip:
    def test_a_dict_brings_the_config_back(self, config: LimitsConfig) -> None:
        assert LimitsConfig.load(config.to_dict()) == config

    def test_json_brings_the_config_back(self, config: LimitsConfig) -> None:
        assert LimitsConfig.from_json(config.to_json()) == config
        assert LimitsConfig.from_json(config.to_json().encode()) == config

    def test_the_dict_is_what_the_file_says(self, config: LimitsConfig) -> None:
        assert config.to_dict() == tomllib.loads(LIMITS_TOML)

    def test_the_json_is_canonical(self) -> None:
        config = LimitsConfig.load({"tasks": {"t": "a"}, "services": {"b": {}, "a": {"windows": [{"per": 60, "limit": 1}]}}})
        assert config.to_json() == '{"services":{"a":{"windows":[{"limit":1,"per":"1m"}]},"b":{}},"tasks":{"t":"a"}}'

    def test_pickles_and_copies_are_equal_even_after_use(self, config: LimitsConfig) -> None:
        config.scopes_of("proj.git.push")
        for twin in (pickle.loads(pickle.dumps(config)), copy.deepcopy(config)):
            assert twin == config
            assert hash(twin) == hash(config)
            assert twin.scopes_of("proj.git.pull") == ("git_operations", "")

    @pytest.mark.parametrize("text", ["", "{", b"\xff", "[" * 100_000])
    def test_what_is_not_json_is_one_problem(self, text: str | bytes) -> None:
        with pytest.raises(ConfigError) as caught:
            LimitsConfig.from_json(text)
        assert caught.value.problems == ("limits: this is not JSON; store what to_json() returns",)

    def test_json_of_another_kind_is_one_problem(self) -> None:
        with pytest.raises(ConfigError) as caught:
            LimitsConfig.from_json("[1]")
        assert caught.value.problems == ("limits: a list is not allowed; store what to_json() returns",)


class TestDigest:
    def test_it_names_the_content_on_every_machine(self) -> None:
        # sha256 of {"services":{"api":{"requests_per_minute":60}}}
        assert LimitsConfig.load({"services": {"api": {"requests_per_minute": 60}}}).digest == "e33c86baacb0f338"

    def test_the_order_of_tables_and_the_spelling_of_durations_do_not_matter(self) -> None:
        one = LimitsConfig.load({"services": {"a": {}, "b": {"windows": [{"limit": 1, "per": "120s"}]}}, "loops": {}})
        two = LimitsConfig.load({"services": {"b": {"windows": [{"limit": 1, "per": "2m"}]}, "a": {"token_limits": {}}}})
        assert (one, one.digest, hash(one)) == (two, two.digest, hash(two))

    def test_every_change_changes_it(self, config: LimitsConfig) -> None:
        tables = config.to_dict()
        tables["loops"]["*"]["requests_per_minute"] = 11
        assert LimitsConfig.load(tables).digest != config.digest
