"""Every path that publishes a task goes through the gate: what runs has a fence."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from celery import Celery, chain, chord, group, signature
from celery.beat import Service

from crew import Crew, Entry
from support import wait_until
from turgor.worker import Priority, Turgor


def starts_with(crew: Crew, value: object) -> list[Entry]:
    """The starts of tasks whose first argument is `value`, as soon as there are any."""

    def found() -> list[Entry]:
        return [start for start in crew.journal.starts() if start.args[:1] == [value]]

    return wait_until(found, description=f"a task with {value!r} starts")


def assert_gated(*starts: Entry) -> None:
    fences = [start.fence for start in starts]
    assert all(isinstance(fence, int) for fence in fences), fences
    assert len(set(fences)) == len(fences), f"a fence was given twice: {fences}"


def test_delay_is_gated(crew: Crew) -> None:
    result = crew.proj.call.delay("hi")
    assert result.get(timeout=10) == "hi"
    assert_gated(*crew.journal.starts(result.id))


def test_apply_async_is_gated(crew: Crew) -> None:
    result = crew.proj.call.apply_async(
        ("hi",), loop="planner-7", loop_type="planner", priority=Priority.HIGH, weight=2, tokens=5
    )
    assert result.get(timeout=10) == "hi"
    (start,) = crew.journal.starts(result.id)
    assert_gated(start)
    assert start.headers == {
        "loop": "planner-7", "loop_type": "planner", "priority": 7, "service": "api", "endpoint": None, "weight": 2, "tokens": 5,
    }  # fmt: skip


def test_an_unlimited_task_is_not(crew: Crew) -> None:
    result = crew.proj.free.delay("hi")
    assert result.get(timeout=10) == "hi"
    (start,) = crew.journal.starts(result.id)
    assert start.fence is None


def test_a_name_that_the_sender_does_not_know_is_gated_by_the_table_of_tasks(crew: Crew) -> None:
    sender = Celery("sender", broker=crew.settings.broker, backend=crew.settings.broker)
    Turgor(sender, crew.settings.limits)
    result = sender.send_task("proj.mapped", ("hi",))
    assert result.get(timeout=10) == "hi"
    assert_gated(*crew.journal.starts(result.id))


def test_a_sender_without_limits_of_its_own_follows_those_of_the_realm(crew: Crew) -> None:
    crew.proj.turgor.start()
    sender = Celery("sender", broker=crew.settings.broker, backend=crew.settings.broker)
    Turgor(sender)
    result = sender.send_task("proj.mapped", ("hi",))
    assert result.get(timeout=10) == "hi"
    assert_gated(*crew.journal.starts(result.id))


def test_each_step_of_a_chain_is_gated(crew: Crew) -> None:
    proj, value = crew.proj, uuid4().int % 10**9
    assert chain(proj.call.s(value), proj.add.s(1), proj.call.s()).delay().get(timeout=10) == value + 1
    assert_gated(*starts_with(crew, value), *starts_with(crew, value + 1))
    assert [start.task for start in starts_with(crew, value)] == ["proj.call", "proj.add"]


def test_each_member_of_a_group_is_gated(crew: Crew) -> None:
    value = str(uuid4())
    assert group(crew.proj.call.s(value) for _ in range(4)).delay().get(timeout=10) == [value] * 4
    starts = starts_with(crew, value)
    assert len(starts) == 4
    assert_gated(*starts)


def test_header_and_body_of_a_chord_are_gated(crew: Crew) -> None:
    first = uuid4().int % 10**9
    values = [first, first + 1, first + 2]
    assert chord([crew.proj.call.s(value) for value in values], crew.proj.total.s()).delay().get(timeout=10) == sum(values)
    starts = [start for value in (*values, values) for start in starts_with(crew, value)]
    assert [start.task for start in starts] == ["proj.call"] * 3 + ["proj.total"]
    assert_gated(*starts)


def test_a_chain_of_groups_and_chords_gives_what_celery_gives(crew: Crew) -> None:
    proj = crew.proj
    step = (
        proj.call.s(1)
        | group(proj.add.s(1), proj.add.s(2))
        | proj.total.s()
        | group(proj.call.s(), proj.free.s())
        | proj.total.s()
    )
    assert step.delay().get(timeout=20) == 10


def test_each_retry_is_gated_under_a_fence_of_its_own(crew: Crew) -> None:
    result = crew.proj.flaky.delay("hi", failures=3)
    assert result.get(timeout=10) == "hi"
    starts = crew.journal.starts(result.id)
    assert [start.retries for start in starts] == [0, 1, 2, 3]
    assert_gated(*starts)


def test_the_replacement_of_a_task_is_gated(crew: Crew) -> None:
    result = crew.proj.swap.delay("hi")
    assert result.get(timeout=10) == "hi"
    starts = crew.journal.starts(result.id)
    assert [start.task for start in starts] == ["proj.swap", "proj.call"]
    assert_gated(*starts)


def test_callbacks_are_gated(crew: Crew) -> None:
    value = str(uuid4())
    crew.proj.free.apply_async((value,), link=[crew.proj.call.s(), crew.proj.swap.s()])
    wait_until(lambda: len(starts_with(crew, value)) == 4, description="task, two callbacks and a replacement start")
    free, *callbacks = starts_with(crew, value)
    assert free.fence is None
    assert_gated(*callbacks)


def test_error_callbacks_are_gated(crew: Crew) -> None:
    result = crew.proj.failing.apply_async(link_error=crew.proj.call.s())
    with pytest.raises(ValueError, match="on purpose"):
        result.get(timeout=10)
    assert_gated(*starts_with(crew, result.id))


def test_what_beat_sends_is_gated(crew: Crew, tmp_path: Path) -> None:
    value, proj = str(uuid4()), crew.settings.load()
    options = {"loop": "cron-1", "priority": 2}
    entry = {"task": "proj.call", "schedule": 0.1, "args": (value,), "options": options}
    proj.app.conf.beat_schedule = {"entry": entry}
    scheduler = Service(proj.app, schedule_filename=str(tmp_path / "schedule")).get_scheduler()

    def has_sent() -> bool:
        scheduler.tick()
        return scheduler.schedule["entry"].total_run_count > 0

    wait_until(has_sent, description="the entry is due")
    start, *_ = starts_with(crew, value)
    assert_gated(start)
    assert (start.headers["loop"], start.headers["priority"]) == ("cron-1", 2)
    scheduler.close()


def test_options_that_a_signature_was_given_count(crew: Crew) -> None:
    signed = crew.proj.call.s("hi").set(loop="planner-7", priority=9)
    result = signature(dict(signed), app=crew.proj.app).delay()  # as if it had travelled inside a message
    assert result.get(timeout=10) == "hi"
    headers = crew.start_of(result.id).headers
    assert (headers["loop"], headers["priority"]) == ("planner-7", 9)


def test_one_of_many_signatures_of_a_group_keeps_its_own_options(crew: Crew) -> None:
    proj = crew.proj
    results = group(proj.call.s(1).set(loop="a"), proj.call.s(2).set(loop="b", weight=3), proj.free.s(3)).delay()
    assert results.get(timeout=10) == [1, 2, 3]
    headers = [crew.start_of(result.id).headers for result in results.results]
    assert [(each["loop"], each["weight"]) for each in headers] == [("a", None), ("b", 3), (None, None)]


def test_the_same_task_id_twice_waits_once(crew: Crew, tmp_path: Path) -> None:
    proj, open_file = crew.proj, tmp_path / "open"
    blocker = proj.hold.delay(str(open_file))
    crew.start_of(blocker.id)
    task_id = str(uuid4())
    for _ in range(2):
        proj.single.apply_async((1,), task_id=task_id)
    open_file.touch()
    assert proj.app.AsyncResult(task_id).get(timeout=10) == 1
    assert proj.single.delay(2).get(timeout=10) == 2
    assert len(crew.journal.starts(task_id)) == 1


def test_the_same_task_id_after_its_end_runs_again(crew: Crew) -> None:
    task_id = str(uuid4())
    for count in (1, 2):
        crew.proj.call.apply_async((1,), task_id=task_id)
        wait_until(lambda count=count: len(crew.journal.ends(task_id)) == count, description=f"run {count} ends")
        crew.wait_until_idle()
