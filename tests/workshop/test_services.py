"""The services of docker-compose.yml, as plain processes on one server."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import free_port, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.usefixtures("redis_client")]

START_S = 40.0
STOP_S = 30.0


@dataclass(frozen=True)
class Service:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def has_logged(self, text: str) -> bool:
        logged = self.log.read_text(errors="replace")
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}:\n{logged}"
        return text in logged

    def wait_until_it_logs(self, text: str) -> None:
        wait_until(lambda: self.has_logged(text), description=f"{self.name} logs {text!r}", timeout=START_S)

    def stop(self) -> int:
        """Ask as `docker compose stop` does."""
        self.process.terminate()
        return self.process.wait(timeout=STOP_S)


StartService = Callable[[str], Service]


@pytest.fixture
def flower_port() -> int:
    return free_port()


@pytest.fixture
def environment(compose: dict[str, Any], server_url: str) -> dict[str, str]:
    """What the compose file gives its worker, with this test's server in place of its Redis."""
    declared = compose["services"]["worker"]["environment"].items()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path} | {name: value.replace("redis://redis:6379/0", server_url) for name, value in declared}


@pytest.fixture
def start(compose: dict[str, Any], environment: dict[str, str], flower_port: int, tmp_path: Path) -> Iterator[StartService]:
    started: list[Service] = []

    def start_service(name: str) -> Service:
        log = tmp_path / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                shlex.split(compose["services"][name]["command"].replace("5555", str(flower_port))),
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(Service(name, process, log))
        return started[-1]

    yield start_service
    for service in started:
        if service.process.poll() is None:
            os.killpg(service.process.pid, signal.SIGKILL)
            service.process.wait()


@pytest.mark.parametrize(("name", "ready"), [("dispatcher", "Dispatching"), ("worker", "ready.")])
def test_a_service_starts_and_ends_when_asked(start: StartService, name: str, ready: str) -> None:
    service = start(name)

    service.wait_until_it_logs(ready)

    assert service.stop() == 0, service.log.read_text()


def test_flower_sees_the_worker_and_passes_its_health_check(start: StartService, flower_port: int) -> None:
    worker, flower = start("worker"), start("flower")
    worker.wait_until_it_logs("ready.")
    flower.wait_until_it_logs("Connected to")

    with httpx.Client(base_url=f"http://127.0.0.1:{flower_port}") as client:
        assert client.get("/healthcheck").status_code == httpx.codes.OK
        wait_until(
            lambda: client.get("/workers", params={"json": "1"}).json()["data"],
            description="Flower lists a worker",
            timeout=START_S,
        )

    assert flower.stop() == 0, flower.log.read_text()


def test_a_task_sent_to_the_services_is_run(start: StartService, environment: dict[str, str], tmp_path: Path) -> None:
    dispatcher, worker = start("dispatcher"), start("worker")
    dispatcher.wait_until_it_logs("Dispatching")
    worker.wait_until_it_logs("ready.")

    def celery(*arguments: str) -> str:
        command = ["celery", "-A", "turgor.examples.demo.app", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    task_id = celery("call", "celery.accumulate", "--args", "[2, 3]")

    assert celery("result", task_id) == "[2, 3]"
