"""A receipt is what a submit tells its caller of where the task stands.

`apply_async` has no room for it in what it returns, so whoever wants one says so around the call:

    with receipt() as mine:
        task.apply_async(…)
    mine.explanation
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from ..scheduler.explanation import Explanation

_wanted: ContextVar[Receipt | None] = ContextVar("turgor_receipt", default=None)


@dataclass
class Receipt:
    """What is known of a task as its submit ends.

    Attributes
    ----------
    explanation:
        Where it stands; None for one that went straight to the broker.
    degraded_to:
        The task that was submitted in its place; None if it was itself.
    coalesced_into:
        The id of the task that waited already and stands for it; None if it is its own.
    """

    explanation: Explanation | None = None
    degraded_to: str | None = None
    coalesced_into: str | None = None


@contextmanager
def receipt() -> Generator[Receipt]:
    """Ask for the receipt of the next task that is published here."""
    asked = Receipt()
    before = _wanted.set(asked)
    try:
        yield asked
    finally:
        _wanted.reset(before)


def take_receipt() -> Receipt | None:
    """The receipt that is to be filled, once: what is published meanwhile, in a signal's handler, is another task."""
    asked = _wanted.get()
    if asked is not None:
        _wanted.set(None)
    return asked
