"""A call is what a limiter is asked to admit: whose it is, and what it costs."""

from __future__ import annotations

from typing import NamedTuple

from .priority import Priority


class Call(NamedTuple):
    """One call of many, for `HierarchicalLimiter.acquire_many`.

    Parameters
    ----------
    service, endpoint, loop_type, loop:
        Whose call it is; `""` for what it has not.
    weight:
        Units for limits that count requests.
    tokens:
        An estimate, for limits that count tokens.
    priority:
        0 to 9: what limits keep in reserve for higher ones is not for it.
    """

    service: str = ""
    endpoint: str = ""
    loop_type: str = ""
    loop: str = ""
    weight: int = 1
    tokens: int = 0
    priority: int = Priority.NORMAL
