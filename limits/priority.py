"""Priorities: 0 to 9, higher first, as AMQP counts them."""

from __future__ import annotations

from enum import IntEnum


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
