"""An application that has everything its own way, put under Turgor late. `support.AppSettings` says how it is configured."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from celery import Celery, Task, shared_task
from celery.app.amqp import AMQP
from celery.worker.request import Request

from turgor.worker import Turgor

SETTINGS = json.loads(os.environ["TURGOR_TEST_APP"])


def note(event: str, request: Any) -> None:
    entry = {
        "event": event, "task": request.task, "id": request.id, "args": list(request.args or ()), "at": 0.0, "pid": os.getpid(),
        "retries": request.retries, "fence": request.get("turgor_fence"), "headers": {},
        "queue": request.delivery_info["routing_key"], "root": request.root_id, "custom": request.get("tenant"),
        "forecast": request.get("turgor_forecast"),
    }  # fmt: skip
    with Path(SETTINGS["journal"]).open("ab", buffering=0) as journal:
        journal.write((json.dumps(entry) + "\n").encode())


class OwnAMQP(AMQP):
    """Signs each message."""

    def as_task_v2(self, *args: Any, **kwargs: Any) -> Any:
        message = super().as_task_v2(*args, **kwargs)
        message.headers["tenant"] = "signed by OwnAMQP"
        return message


class OwnRequest(Request):
    """Says when it is accepted, in the worker's main process."""

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        super().on_accepted(pid, time_accepted)
        note("accepted", self._context)


class OwnTask(Task):
    """Has a `__call__` of its own."""

    abstract = True
    Request = OwnRequest

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        note("start", self.request)
        return super().__call__(*args, **kwargs)


app = Celery("variants", broker=SETTINGS["broker"], backend=SETTINGS["backend"], task_cls=OwnTask)
app.amqp_cls = OwnAMQP
app.conf.update(SETTINGS["conf"])


@app.task(name="variants.before", service="single", shared=False)
def before(value: Any) -> Any:
    return value


app.amqp.queues.add("declared before Turgor came")
turgor = Turgor(app, SETTINGS["limits"], **SETTINGS["options"])


@app.task(name="variants.after", service="single", shared=False)
def after(value: Any) -> Any:
    return value


@shared_task(name="variants.shared", service="single")
def shared(value: Any) -> Any:
    return value


class Classy(OwnTask):
    name = "variants.Classy"
    service = "single"

    def run(self, value: Any) -> Any:
        return value


classy = app.register_task(Classy())


@app.task(name="variants.registers", bind=True, service="single", shared=False)
def registers(self: Any, value: Any) -> Any:
    """Makes a task while it runs, and calls it."""

    @app.task(name=f"variants.{value}", service="single", shared=False)
    def made(value: Any) -> Any:
        return value

    return made.delay(value).id
