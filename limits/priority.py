"""Priorities: 0 to 9, higher first, as AMQP counts them."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from pydantic import BeforeValidator

from .quotation import quote


class Priority(IntEnum):
    """0 to 9, higher first. Any number between the names is allowed too."""

    BACKGROUND = 0
    LOW = 2
    NORMAL = 5
    HIGH = 7
    CRITICAL = 9


_NAMES = {int(priority): priority.name for priority in Priority}


def name_of(priority: int) -> str:
    """The name of a priority, or its number where it has none.

    >>> name_of(7), name_of(8)
    ('HIGH', '8')
    """
    return _NAMES.get(priority, str(priority))


_OF_SOME = ", ".join(priority.name for priority in Priority if priority)


def _stated(value: object) -> int:
    if isinstance(value, str) and value in Priority.__members__:
        value = int(Priority[value])
    if type(value) is not int or not 1 <= value <= Priority.CRITICAL:
        raise ValueError(f"{quote(value)} is not allowed; use a priority from 1 to 9, or one of {_OF_SOME}")
    return value


StatedPriority = Annotated[int, BeforeValidator(_stated)]
"""The type of a field that draws a line between priorities: the number or the name of the first one above it."""


def check_priority(priority: object) -> int:
    """Return it, or raise `ValueError` naming it unless it is a whole number from 0 to 9."""
    # A bool is an int to Python.
    if isinstance(priority, bool) or not isinstance(priority, int) or not Priority.BACKGROUND <= priority <= Priority.CRITICAL:
        raise ValueError(f"priority={priority!r}: give a whole number from 0 to 9, higher first")
    return int(priority)
