"""Whatever is wrong with what a person typed at `turgor …`: one line that says so, and no traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery
from click.testing import CliRunner, Result
from redis import Redis

from support import start_embedded_server, wait_until
from turgor.worker import Turgor
from turgor.worker.commands import turgor as commands

NOBODY = "redis://127.0.0.1:1/0"
WRITES = (
    ("pause", "service:api"),
    ("resume", "service:api"),
    ("limits", "set", "service:api", "max_in_flight=3"),
)
READS = (("status",), ("usage", "service:api"), ("explain", "id"), ("cancel", "id"), ("limits", "show"), ("dispatch",))


def app_at(url: str) -> Celery:
    app = Celery("app", broker=url, set_as_current=False)
    Turgor(app, limits={"services": {"api": {"requests_per_minute": 60}}})
    return app


def run(app: Celery | None, *arguments: str) -> Result:
    result = CliRunner().invoke(commands, arguments, obj=SimpleNamespace(app=app))
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable module, to be written."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "typed.py"
    sys.modules.pop("typed", None)


@pytest.fixture
def replica(server_url: str, redis_client: Redis) -> Iterator[str]:
    """The URL of a read-only copy of the server, whose limits are in force."""
    app_at(server_url).turgor.start()
    host, port = redis_client.get_connection_kwargs()["host"], redis_client.get_connection_kwargs()["port"]
    server = start_embedded_server()
    url = f"redis://127.0.0.1:{server.port}/{redis_client.get_connection_kwargs().get('db') or 0}"
    with Redis.from_url(url) as client:
        client.replicaof(host, port)
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", description="the replica has its copy")
    yield url
    server.stop()


@pytest.mark.parametrize("arguments", WRITES, ids=" ".join)
def test_a_read_only_server_is_named_with_the_remedy(replica: str, arguments: tuple[str, ...]) -> None:
    """These once ended in redis-py's traceback."""
    result = run(app_at(replica), *arguments)
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        1,
        f"Error: Redis at {replica} cannot carry Turgor: it is a read-only replica. Give the URL of the primary.",
    )


@pytest.mark.parametrize("arguments", [*WRITES, *READS], ids=" ".join)
def test_every_command_names_the_url_at_which_nobody_answers(arguments: tuple[str, ...]) -> None:
    result = run(app_at(NOBODY), *arguments)
    assert (result.exit_code, result.output) == (
        1,
        f"Error: no Redis at {NOBODY}: connection refused. Start one, or correct the URL.\n",
    )


def test_a_database_that_the_server_does_not_have_is_named(server_url: str) -> None:
    url = server_url.rpartition("/")[0] + "/99999"
    result = run(app_at(url), "pause", "service:api")
    assert result.exit_code == 1
    assert "it has no such database" in result.output
    assert "Correct the number at the end of the URL." in result.output


def test_a_broker_url_that_cannot_be_read_is_named_without_its_password() -> None:
    result = run(app_at("redis://:secret@localhost:no-port/0"), "status")
    assert (result.exit_code, result.output) == (
        1,
        (
            "Error: broker redis://:***@localhost:no-port/0: Port could not be cast to integer value as 'no-port'. "
            "Correct broker_url, such as redis://localhost:6379/0\n"
        ),
    )


def test_mistakes_in_the_apps_limits_are_lines_and_no_traceback(module: Path) -> None:
    """Celery passes such a ValueError on as one of its own: it once came as a traceback."""
    module.write_text(
        "from celery import Celery\nfrom turgor.worker import Turgor\n"
        "Turgor(Celery('typed', set_as_current=False), {'services': {'api': {'requests_per_minute': 0}}})\n"
    )
    result = run(None, "-A", "typed", "status")
    assert (result.exit_code, result.output) == (
        1,
        "Error: services.api.requests_per_minute: 0 is not allowed; use a whole number of at least 1\n",
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere_at_all", "No module named 'nowhere_at_all'"),
        ("typed:app", "module 'typed' has no attribute 'app'"),
        ("typed:number", "it is of type int"),
        ("typed", "module 'typed' has no attribute 'app'"),
    ],
)
def test_what_is_no_app_is_refused_with_the_reason_and_an_example(module: Path, name: str, reason: str) -> None:
    module.write_text("number = 7\n")
    result = run(None, "-A", name, "status")
    assert result.exit_code == 2
    assert result.output.splitlines()[-1] == (
        f"Error: no app {name!r}: {reason}. Name a module that has one, or the app in it, such as proj or proj.celery:app"
    )


@pytest.mark.parametrize("arguments", [("status",), ("limits", "show"), ("limits", "diff", "limits.toml")], ids=" ".join)
def test_without_an_app_the_whole_command_to_type_is_shown(arguments: tuple[str, ...]) -> None:
    result = run(None, *arguments)
    command = " ".join(arguments[:2] if arguments[0] == "limits" else arguments)
    assert result.exit_code == 2
    assert result.output.splitlines()[-1] == f"Error: name the app: turgor -A proj {command}, or celery -A proj turgor {command}"


def test_an_unknown_task_is_explained_by_what_unknown_means(server_url: str, redis_client: Redis) -> None:
    result = run(app_at(server_url), "explain", "nope")
    assert (result.exit_code, result.output) == (0, "nope: unknown. It has ended, is not limited, or was never here\n")


def test_setting_a_limit_takes_a_name_that_only_one_scope_has(server_url: str, redis_client: Redis) -> None:
    """As `pause` and `usage` do."""
    result = run(app_at(server_url), "limits", "set", "api", "requests_per_minute=30")
    assert (result.exit_code, result.output.splitlines()[0]) == (0, "service:api requests_per_minute: 60 -> 30"), result.output
