from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

VALIDATOR = Draft202012Validator(json.loads(Path(__file__).with_name("compose.schema.json").read_text()))


def test_the_compose_file_is_valid(compose: dict[str, Any]) -> None:
    VALIDATOR.validate(compose)


@pytest.mark.parametrize(
    ("service", "change"),
    [
        ("worker", {"restart": None}),
        ("worker", {"comand": "celery"}),
        ("redis", {"healthcheck": {"test": ["redis-cli", "ping"]}}),
        ("flower", {"ports": ["5555:5555"]}),
        ("dispatcher", {"depends_on": {"redis": {"condition": "healthy"}}}),
    ],
    ids=["no restart", "misspelt key", "health check without CMD", "open to the network", "unknown condition"],
)
def test_a_mistake_in_a_service_is_found(compose: dict[str, Any], service: str, change: dict[str, Any]) -> None:
    compose["services"][service] |= change

    with pytest.raises(ValidationError):
        VALIDATOR.validate(compose)


def test_services_depend_on_services_and_mount_volumes_that_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service.get("depends_on", {}).keys() <= compose["services"].keys()
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= compose["volumes"].keys()


def test_redis_keeps_what_it_acknowledged_across_a_restart(compose: dict[str, Any]) -> None:
    redis = compose["services"]["redis"]

    assert "--appendonly yes" in redis["command"]
    assert "redis-data:/data" in redis["volumes"]
