"""Order tables say, beside the limits of their scope, in which order waiting work is served.

`[global]` has `priority_ageing`: in so much time a waiting task gains one priority level. A loop has `fair_weight`: how
much it is served for each unit that another loop of the same priority gets.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from .duration import parse_duration
from .limit import SECOND_US, format_duration
from .quotation import quote
from .scope_name import ScopeName
from .scope_table import ScopeTable

MAX_WEIGHT = 100


def _ageing(value: object) -> str:
    duration_us = parse_duration(value)
    if duration_us < SECOND_US:
        raise ValueError(f"{quote(value)} is not allowed; use a duration of at least 1s")
    return format_duration(duration_us)


def _weight(value: object) -> object:
    if type(value) is not int or not 1 <= value <= MAX_WEIGHT:
        raise ValueError(f"{quote(value)} is not allowed; use a whole number from 1 to {MAX_WEIGHT}")
    return value


class GlobalTable(ScopeTable):
    """The limits of the whole realm, and how its priorities age.

    Parameters
    ----------
    priority_ageing:
        In so much time a waiting task gains one priority level, at least 1 s; None: priorities are strict.
    """

    priority_ageing: Annotated[str, BeforeValidator(_ageing)] | None = None

    @property
    def ageing_us(self) -> int | None:
        """The time in which a level is gained, in microseconds."""
        return None if self.priority_ageing is None else parse_duration(self.priority_ageing)


class LoopTable(ScopeTable):
    """The limits of one loop, and its share among loops.

    Parameters
    ----------
    fair_weight:
        How much it is served for each unit that a loop of weight 1 gets, where both wait with the same priority;
        1 to 100.
    """

    fair_weight: Annotated[int, BeforeValidator(_weight)] = 1


LoopTables = Annotated[Mapping[ScopeName, LoopTable], AfterValidator(dict)]
