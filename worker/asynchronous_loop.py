"""`Loop` for asyncio. Celery's own publishing blocks, so each call goes to a thread and the event loop goes on.

planner = turgor.async_loop("planner-7", type="planner")
results = await planner.submit_many([complete.s(prompt) for prompt in prompts])
waited = await planner.wait(results, timeout=60)
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .loop import Waited, ends

if TYPE_CHECKING:
    from celery import Signature, Task

    from ..scheduler.loop_work import LoopStatus
    from .loop import Loop, LoopCall, Result
    from .loop_result import LoopResult

# A wait that was cancelled leaves its thread to itself for no longer.
LOOK_EVERY_S = 0.5


class AsyncLoop:
    """A loop whose methods are coroutines; each does what that of `Loop` does, and raises the same.

    A call that is cancelled while it is under way goes on in its thread: a submit may still be accepted.

    Parameters
    ----------
    loop:
        What does the work.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.name, self.type = loop.name, loop.type

    def __repr__(self) -> str:
        return f"<AsyncLoop {self.name}>"

    async def submit(
        self, task: Task[..., Any] | str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> LoopResult:
        """Submit one call."""
        return await asyncio.to_thread(self._loop.submit, task, args, kwargs, **options)

    async def submit_many(self, calls: Iterable[LoopCall | Signature[Any]]) -> list[Result]:
        """Submit many calls, 500 in one round trip."""
        return await asyncio.to_thread(self._loop.submit_many, calls)

    async def status(self) -> LoopStatus:
        """Where the loop's tasks are, and what holds them."""
        return await asyncio.to_thread(self._loop.status)

    async def cancel(self, task_id: str) -> bool:
        """Revoke a task of this loop that no worker has yet."""
        return await asyncio.to_thread(self._loop.cancel, task_id)

    async def cancel_all(self) -> int:
        """Revoke all tasks of this loop that wait or are delayed."""
        return await asyncio.to_thread(self._loop.cancel_all)

    async def wait(
        self,
        results: Iterable[Result | str],
        timeout: float | None = None,  # noqa: ASYNC109  what has ended by then is told, not lost
    ) -> Waited:
        """Wait until all of these have ended, or `timeout` seconds are over. May be cancelled."""
        give_up_at = None if timeout is None else time.monotonic() + timeout
        waited = Waited([], [])
        for each in results:
            result = self._loop.result(each)
            (waited.done if await _ends(result, give_up_at) else waited.pending).append(result)
        return waited


async def _ends(result: Result, give_up_at: float | None) -> bool:
    while True:
        left_s = math.inf if give_up_at is None else give_up_at - time.monotonic()
        if await asyncio.to_thread(ends, result, min(left_s, LOOK_EVERY_S)):
            return True
        if left_s <= LOOK_EVERY_S:
            return False
