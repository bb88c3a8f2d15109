"""`turgor usage SCOPE`, for a person and for a program."""

from __future__ import annotations

import json
import re

import pytest
from celery import Celery
from click.testing import CliRunner, Result
from redis import Redis

from crew import AppSettings
from turgor.worker import Turgor
from turgor.worker.commands import turgor as commands

LIMITS = {
    "services": {
        "api": {"requests_per_hour": 100, "burst_capacity": 2},
        "free": {},
        "capped": {"backlog": {"limit": 5, "bytes": "1MB"}},
    },
    "loop_types": {"free": {}},
}


@pytest.fixture
def app(redis_client: Redis, settings: AppSettings) -> Celery:
    app = Celery("bare", broker=settings.broker, set_as_current=False)
    Turgor(app, LIMITS)
    return app


def run(app: Celery, *arguments: str) -> Result:
    class Parent:
        """What `celery -A proj turgor` hands down."""

        def __init__(self) -> None:
            self.app = app

    return CliRunner().invoke(commands, ["usage", *arguments], obj=Parent())


def test_it_says_what_is_used_and_what_is_left_of_each_limit(app: Celery) -> None:
    for _ in range(2):
        app.turgor.limiter.acquire(service="api")

    result = run(app, "service:api")

    assert result.exit_code == 0, result.output
    window, burst = result.output.splitlines()
    assert window.startswith("service:api              requests/1h    2 of 100 used, 98 left, unused in ")
    assert burst.startswith("service:api              burst          2 of 2 used, 0 left, opens in ")


def test_it_says_what_waits_beside_the_cap(app: Celery) -> None:
    for _ in range(2):
        app.send_task("proj.call", service="capped", countdown=60)

    result = run(app, "capped")

    assert result.exit_code == 0, result.output
    assert re.fullmatch(r"backlog of service:capped: 2 of 5 tasks, .* of 1MB wait\n", result.output)


def test_it_says_the_same_as_json(app: Celery) -> None:
    result = run(app, "api", "--json")

    assert result.exit_code == 0, result.output
    assert [(each["limit"], each["used"], each["remaining"]) for each in json.loads(result.output)["limits"]] == [
        ("requests/1h", 0, 100),
        ("burst", 0, 2),
    ]


def test_a_scope_without_limits_says_so(app: Celery) -> None:
    assert run(app, "loop:a").output == "loop:a: no limits of its own\n"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("free", "scope 'free': say which one: service:free, loop_type:free"),
        ("planner-7", "the limits name no such scope; give its full name, such as loop:planner-7"),
        ("service:apo", "unknown service 'apo'. Did you mean 'api'?"),
    ],
)
def test_a_scope_that_is_not_there_is_one_line_and_no_traceback(app: Celery, word: str, message: str) -> None:
    result = run(app, word)

    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
