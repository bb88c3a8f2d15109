"""The retry ledger grants retries out of the budgets of a realm's services."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .lua import LIMITS_LUA, Client, Script
from .retry_budget import RetryBudget, RetryCell, RetryState

if TYPE_CHECKING:
    from .keys import Keys

SPEND_RETRY = Script(LIMITS_LUA / "spend_retry.lua")


@dataclass(frozen=True, slots=True)
class RetryGrant:
    """The answer to one retry that was asked for.

    Parameters
    ----------
    granted:
        Whether the task may be retried.
    retries, allowed:
        Retries that were granted in this window, and how many it allows; None of a service without a budget.
    """

    granted: bool
    retries: int | None = None
    allowed: int | None = None


@dataclass(frozen=True, slots=True)
class RetryUse:
    """How much of a retry budget is used.

    Parameters
    ----------
    first_attempts:
        First attempts that ended in the window.
    retries, allowed:
        Retries that were granted in it, and how many it allows.
    window_us:
        Its length, in microseconds.
    """

    first_attempts: int
    retries: int
    allowed: int
    window_us: int

    @property
    def is_spent(self) -> bool:
        return self.retries >= self.allowed


class RetryLedger:
    """Grants retries, for every process of the realm together.

    Parameters
    ----------
    client, keys:
        Where the realm lives.
    """

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client, self._realm = client, keys.prefix

    def spend(self, service: str, *, now_us: int | str = "") -> RetryGrant:
        """Take one retry out of a service's budget, if one is left."""
        status, *numbers = SPEND_RETRY(self._client, self._realm, now_us, service)
        return RetryGrant(status != b"spent", *map(int, numbers))


def retry_state(packed: bytes) -> RetryState:
    """What the scripts have stored of a budget."""
    return tuple(RetryCell(*map(int, cell)) for cell in struct.iter_unpack("<ddd", packed))


def retry_use(budget: RetryBudget, state: RetryState, now_us: int) -> RetryUse:
    """How much of a budget is used at one moment."""
    return RetryUse(
        budget.first_attempts(state, now_us), budget.retries(state, now_us), budget.allowed(state, now_us), budget.window_us
    )
