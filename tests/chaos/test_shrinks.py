"""A pool that shrinks again and again under load. Whoever is taken out has nothing to do, so no task is lost or runs twice."""

from __future__ import annotations

from collections import Counter

from crew import AppSettings, Hire
from support import wait_until

# Neither a lapsed lease nor a late claim may bring back what a shrink has lost.
PATIENT = {"claim_within_s": 120, "lease_s": 120}
SHRINKS = 12


def test_shrinks_under_load_lose_nothing_whether_limited_or_not(settings: AppSettings, hire: Hire) -> None:
    """Celery's own `shrink` ends children that a job was written to: in most such runs some tasks never came back."""
    restless = settings.but(
        options=PATIENT,
        conf={"task_ignore_result": True, "worker_autoscaler": "restless:Restless", "worker_prefetch_multiplier": 4},
    )
    crew = hire(restless, options=["--autoscale=4,1"])
    work, free = crew.proj.work, crew.proj.free
    ids: list[str] = []

    def keep_busy() -> bool:
        while len(ids) - len(crew.journal.ends()) < 100:
            ids.append(work.delay(0.002).id)
            ids.append(free.delay().id)
        return crew.worker.log.count("Scaling down") >= SHRINKS

    wait_until(keep_busy, description=f"the pool has shrunk {SHRINKS} times", timeout=40)
    wait_until(lambda: len(crew.journal.ends()) >= len(ids), description="every task has ended", timeout=30)
    crew.wait_until_idle()
    assert Counter(start.id for start in crew.journal.starts()) == Counter(ids)
    assert "WorkerLostError" not in crew.worker.log
