"""A loop in asyncio: the same answers, and the event loop goes on."""

from __future__ import annotations

import asyncio
import inspect
import time
from pathlib import Path

import pytest

from crew import Crew
from turgor.limits.errors import CostTooLarge
from turgor.worker import AsyncLoop, Loop, LoopStatus, TaskState


def test_it_has_every_verb_of_a_loop() -> None:
    def verbs(cls: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(cls, inspect.isfunction)
        return {name: list(inspect.signature(each).parameters) for name, each in methods if not name.startswith("_")}

    of_loop = verbs(Loop)
    del of_loop["result"]  # asks nobody
    assert verbs(AsyncLoop) == of_loop


def test_a_program_submits_looks_waits_and_takes_back(crew: Crew) -> None:
    proj = crew.proj

    async def program() -> None:
        loop = proj.turgor.async_loop("planner-7", type="planner", priority=7)
        assert repr(loop) == "<AsyncLoop planner-7>"
        first = await loop.submit(proj.add, (1,), {"y": 2})
        many = await loop.submit_many([proj.add.s(n, 1) for n in range(20)])
        waited = await loop.wait([first, *many], timeout=10)
        assert [each.result for each in waited.done] == [3, *range(1, 21)]
        assert crew.start_of(first.id).headers["priority"] == 7
        later = await loop.submit_many([proj.call.s().set(countdown=60) for _ in range(3)])
        assert (await loop.status()).delayed == 3
        assert await loop.cancel(later[0].id)
        assert await loop.cancel_all() == 2
        assert await loop.status() == LoopStatus(0, 0, 0, 0, ())

    asyncio.run(program())


def test_it_raises_what_a_loop_raises(crew: Crew) -> None:
    loop = crew.proj.turgor.async_loop("planner-7")
    with pytest.raises(CostTooLarge):
        asyncio.run(loop.submit(crew.proj.call, service="small", tokens=1001))


def test_a_wait_ends_in_time_and_tells_who_is_pending(crew: Crew, tmp_path: Path) -> None:
    proj = crew.proj

    async def program() -> None:
        loop = proj.turgor.async_loop("planner-7")
        held, done = await loop.submit(proj.linger, (str(tmp_path / "open"),)), await loop.submit(proj.call)
        assert (await loop.wait([done.id], timeout=10)).pending == []
        waited = await loop.wait([held, done.id], timeout=0.6)
        assert ([each.id for each in waited.done], waited.pending) == ([done.id], [held])
        (tmp_path / "open").touch()
        assert (await loop.wait([held])).done == [held]

    asyncio.run(program())
    crew.wait_until_idle()


def test_the_event_loop_goes_on_and_a_wait_can_be_cancelled(crew: Crew, tmp_path: Path) -> None:
    proj = crew.proj

    async def program() -> None:
        loop = proj.turgor.async_loop("planner-7")
        held = await loop.submit(proj.linger, (str(tmp_path / "open"),))
        waiting = asyncio.create_task(loop.wait([held]))
        longest, before = 0.0, time.monotonic()
        for _ in range(10):
            await asyncio.sleep(0.01)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
        assert longest < 0.4, "a wait in this thread would have stopped it until the task ends"
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert held.explanation is not None
        assert held.explanation.state in (TaskState.RELEASED, TaskState.WAITING)

    asyncio.run(program())  # joins the threads, so one that waited for ever would hang here
    (tmp_path / "open").touch()
    crew.wait_until_idle()
