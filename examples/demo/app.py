"""A Celery app whose tasks call a service with limits. Copy from here.

    celery -A turgor.examples.demo.app worker

The limits stand in limits.toml. `Turgor(app)` holds every call until all limits that concern it have
room, so the tasks need not know of them.
"""

import os
from pathlib import Path
from typing import Any

from celery import Celery

from turgor.worker import Turgor

from .service_client import ServiceClient
from .stopwatch import Stopwatch

app = Celery("demo", broker=os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/0"))
app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)

# A node that is killed is missed after 5 s here; the default of 30 s suits tasks that take longer.
turgor = Turgor(app, limits=Path(__file__).with_name("limits.toml"), claim_within_s=5, lease_s=5)
stopwatch = Stopwatch(turgor)  # for the demo's report alone
service = ServiceClient(os.environ.get("DEMO_SERVICE_URL", "http://127.0.0.1:8080"))


@app.task(bind=True, service="llm_api", endpoint="chat")
def complete(self: Any, tokens: int) -> None:
    call("llm_api/chat", self, tokens=tokens)


@app.task(bind=True, service="git_operations", endpoint="commit")
def commit(self: Any) -> None:
    call("git_operations/commit", self)


@app.task(bind=True, service="file_operations", endpoint="write")
def write_file(self: Any) -> None:
    call("file_operations/write", self)


def call(path: str, task: Any, **fields: Any) -> None:
    """Call the service, and tell it who calls: it keeps the record that the demo shows."""
    caller = {name: task.request.get(name) for name in ("loop", "loop_type", "priority")}
    service.post(path, fields | {name: value for name, value in caller.items() if value is not None})
