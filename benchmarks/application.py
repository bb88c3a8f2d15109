"""The Celery application of the benchmarks' workers. What it is, TURGOR_BENCH_APP says."""

from __future__ import annotations

import json
import os
import time

from apps import SERVICE, limited_app, noop_of, plain_app
from celery.signals import worker_ready

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
note_unlimited = app.task(name="bench.note_unlimited", shared=False)(_note)


@worker_ready.connect(weak=False)
def _note_ready(**_: object) -> None:
    _note(READY)
