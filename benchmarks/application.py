"""The Celery application of the benchmarks' workers. What it is, TURGOR_BENCH_APP says."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from apps import MARK, NEIGHBOUR, SERVICE, limited_app, noop_of, plain_app
from celery.signals import worker_ready

from turgor.worker.envelope import FENCE_HEADER

READY = -1
settings = json.loads(os.environ["TURGOR_BENCH_APP"])
if settings["limits"] is None:
    app = plain_app(settings["broker"])
else:
    app, turgor = limited_app(settings["broker"], settings["limits"], lease_all=settings["lease_all"])
app.conf.task_ignore_result = True

noop = noop_of(app, service=SERVICE)
_journal = os.open(settings["journal"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _note(number: int) -> None:
    os.write(_journal, b"%d %d\n" % (number, time.time_ns()))


note = app.task(name="bench.note", shared=False, service=SERVICE)(_note)


@app.task(name="bench.sleep", shared=False, service=SERVICE)
def sleep(seconds: float) -> None:
    time.sleep(seconds)


def _note_fence(task: Any) -> None:
    _note(MARK + task.request.get(FENCE_HEADER))


note_fence = app.task(name="bench.note_fence", shared=False, service=SERVICE, bind=True)(_note_fence)
note_neighbour = app.task(name="bench.note_neighbour", shared=False, service=NEIGHBOUR, bind=True)(_note_fence)
note_unlimited = app.task(name="bench.note_unlimited", shared=False)(_note)


@worker_ready.connect(weak=False)
def _note_ready(**_: object) -> None:
    _note(READY)
