"""A worker's attendant counts what the worker has, while the worker goes on."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from crew import AppSettings
from turgor.worker.attendant import Attendant


class Reserved:
    """As much of a worker's request as an attendant looks at."""

    def __init__(self, number: int) -> None:
        self.request_dict = {"id": str(number), "turgor_fence": number}


@pytest.fixture
def attendant(settings: AppSettings) -> Attendant:
    turgor = settings.load().turgor
    return Attendant(turgor, SimpleNamespace(hostname="worker@test", concurrency=1, max_concurrency=1))


def test_tasks_may_come_and_go_while_they_are_counted(attendant: Attendant) -> None:
    """Celery keeps them in a WeakSet, which cannot be read while another thread adds to it."""
    done = threading.Event()

    def work() -> None:
        kept: list[Any] = []
        for number in iter(int, 1):
            kept.append(Reserved(number))
            state.reserved_requests.add(kept[-1])
            if len(kept) > 200:
                state.reserved_requests.discard(kept.pop(0))
            if done.is_set():
                return

    worker = threading.Thread(target=work)
    worker.start()
    try:
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            assert set(attendant._leases()) <= {("0", 0)}  # pyright: ignore[reportPrivateUsage]
    finally:
        done.set()
        worker.join()
        state.reserved_requests.clear()


def test_it_may_be_stopped_before_it_starts_and_twice(attendant: Attendant) -> None:
    attendant.stop()
    attendant.start()
    attendant.stop()
    attendant.stop()
