"""Each benchmark runs to its end. What it measures here means nothing: the sizes are tiny."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support import REPOSITORY

NAMES = (
    "enqueue",
    "release",
    "script_calls",
    "memory",
    "delayed",
    "throughput",
    "exactness",
    "neighbours",
    "order",
    "limiter",
    "autoscale",
)
WITH_WORKERS = ("delayed", "throughput", "exactness", "neighbours", "order", "autoscale")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python benchmarks`, on an embedded server even where a real one is named."""
    environment = {name: value for name, value in os.environ.items() if name != "TURGOR_BENCH_REDIS_URL"}
    command = [sys.executable, "benchmarks", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in WITH_WORKERS else ()) for name in NAMES])
def test_each_benchmark_prints_a_table(name: str) -> None:
    result = run(name, "--quick")
    assert result.returncode == 0, result.stderr
    assert f"### {name}" in result.stdout
    assert "| what | measured | goal | |" in result.stdout


def test_the_help_names_each_benchmark() -> None:
    result = run("--help")
    assert result.returncode == 0, result.stderr
    assert ", ".join(NAMES) in " ".join(result.stdout.split())


def test_an_unknown_benchmark_is_refused_with_the_names_of_those_there_are() -> None:
    result = run("enqueues")
    assert result.returncode == 2
    assert "no benchmark enqueues; there are enqueue, release" in " ".join(result.stderr.split())


def test_results_have_a_table_for_each_benchmark() -> None:
    results = (REPOSITORY / "benchmarks" / "RESULTS.md").read_text()
    assert [name for name in NAMES if f"### {name}\n" not in results] == []


def test_a_library_that_is_not_installed_is_left_out_of_the_limiter_s_peers() -> None:
    code = (
        "import sys; sys.path.insert(0, 'benchmarks'); import peers;"
        "peers.PACKAGES = ('nobody-has-this', 'pyrate-limiter', 'nor-this');"
        "print(peers.missing(), sorted({peer.name.partition(' ')[0] for peer in peers.peers('redis://127.0.0.1:1/0')}))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.stdout == "['nobody-has-this', 'nor-this'] ['pyrate-limiter']\n", result.stderr
