"""`Turgor(app)` fits whatever an application has made of Celery, at whatever moment it comes."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from crew import AppSettings, Hire
from support import wait_until
from turgor.worker import Turgor
from turgor.worker.errors import AlreadyInstalled

LIMITS = {"services": {"api": {"requests_per_second": 500}, "single": {"max_in_flight": 1}}, "tasks": {"proj.mapped": "api"}}


def bare_app(settings: AppSettings) -> Celery:
    app = Celery("bare", broker=settings.broker, set_as_current=False)
    app.conf.task_ignore_result = True
    return app


def is_waiting_or_released(client: Redis, task_id: str) -> bool:
    return client.hexists("{turgor:default}:message", task_id)


def test_turgor_may_come_after_the_app_has_published(redis_client: Redis, settings: AppSettings) -> None:
    app = bare_app(settings)
    early = app.send_task("proj.mapped")
    Turgor(app, LIMITS)
    late = app.send_task("proj.mapped")
    assert not is_waiting_or_released(redis_client, early.id)
    assert is_waiting_or_released(redis_client, late.id)


def test_turgor_may_come_before_the_app_is_configured(redis_client: Redis, settings: AppSettings) -> None:
    app = Celery("bare", set_as_current=False)
    Turgor(app, LIMITS)
    app.conf.update(broker_url=settings.broker, task_ignore_result=True, task_default_queue="mine")
    result = app.send_task("proj.mapped")
    assert is_waiting_or_released(redis_client, result.id)
    assert redis_client.llen("mine") == 1


def test_a_queue_that_was_added_to_the_app_is_still_there(redis_client: Redis, settings: AppSettings) -> None:
    variants = settings.but(module="variants").load()
    assert "declared before Turgor came" in variants.app.amqp.queues


def test_a_producer_that_is_passed_in_is_used(redis_client: Redis, settings: AppSettings) -> None:
    app = bare_app(settings)
    Turgor(app, LIMITS)
    with app.producer_pool.acquire() as producer:
        results = [app.send_task(name, producer=producer) for name in ("proj.mapped", "elsewhere.free", "proj.mapped")]
    assert [is_waiting_or_released(redis_client, result.id) for result in results] == [True, False, True]
    assert redis_client.llen("celery") == 3


def test_eager_tasks_run_where_they_are(settings: AppSettings) -> None:
    proj: ModuleType = settings.but(conf={"task_always_eager": True}, broker="redis://127.0.0.1:1/0").load()
    assert proj.total.apply(([1, 2],)).get() == 3


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_every_kind_of_task_is_gated_claimed_and_freed(settings: AppSettings, hire: Hire, pool: str) -> None:
    crew = hire(settings.but(module="variants", limits=LIMITS), pool=pool)
    for name in ("before", "after", "shared", "Classy") * 2:
        result = crew.proj.app.tasks[f"variants.{name}"].delay(name)
        assert result.get(timeout=10) == name
        (start,) = crew.journal.starts(result.id)
        assert start.fence is not None
        assert start.custom == "signed by OwnAMQP"
        accepted = [entry for entry in crew.journal.entries() if (entry.event, entry.id) == ("accepted", result.id)]
        assert len(accepted) == 1, "the app's own Request class is in use"
    crew.wait_until_idle()
    revoked = crew.proj.before.delay(1)
    crew.proj.app.control.revoke(revoked.id)
    assert crew.proj.before.delay(2).get(timeout=10) == 2
    crew.wait_until_idle()


def test_a_pool_whose_processes_are_spawned_drops_stale_copies_too(settings: AppSettings, hire: Hire, tmp_path: Path) -> None:
    crew = hire(settings.but(conf={"worker_pool_start_method": "spawn"}), concurrency=1)
    result = crew.proj.rejected.delay(str(tmp_path / "marker"))
    assert result.get(timeout=20) == "done"
    crew.wait_until_idle()
    wait_until(lambda: "is a stale copy: dropped" in crew.worker.log, description="the rejected message's copy is dropped")
    assert len(crew.journal.starts(result.id)) == 2


def test_two_apps_with_two_realms_do_not_interfere(settings: AppSettings, hire: Hire, redis_client: Redis) -> None:
    closed = {"services": {"api": {"requests_per_hour": 2}}}
    crews = [
        hire(
            settings.but(
                limits=limits,
                options={"realm": realm},
                conf={"task_default_queue": realm},
                journal=settings.journal.with_name(realm),
            )
        )
        for realm, limits in (("one", closed), ("two", {"services": {"api": {"requests_per_second": 500}}}))
    ]
    one, two = ([crew.proj.call.delay(n) for n in range(5)] for crew in crews)
    assert [result.get(timeout=10) for result in two] == [0, 1, 2, 3, 4]
    crews[1].wait_until_idle()
    assert [result.get(timeout=10) for result in one[:2]] == [0, 1]
    assert len(crews[0].journal.starts()) == 2
    realms = {key.split(b"}")[0] for key in redis_client.keys("{turgor:*")}
    assert realms == {b"{turgor:one", b"{turgor:two"}
    crews[0].proj.turgor.cancel(one[2].id)


def test_an_app_has_one_turgor(settings: AppSettings) -> None:
    app = bare_app(settings)
    Turgor(app, LIMITS, realm="first")
    with pytest.raises(AlreadyInstalled, match="<Turgor first of bare> already"):
        Turgor(app, LIMITS, realm="second")


@pytest.mark.parametrize("option", ["claim_within_s", "lease_s"])
@pytest.mark.parametrize("seconds", [0, -1, "30s", True])
def test_a_time_that_is_none_is_refused_at_once(settings: AppSettings, option: str, seconds: Any) -> None:
    with pytest.raises(ValueError, match=f"^{option}={seconds!r}: give a positive number of seconds$"):
        Turgor(bare_app(settings), LIMITS, **{option: seconds})
