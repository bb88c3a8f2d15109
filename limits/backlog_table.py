"""A backlog table is what a scope's table says of the work that waits: how much may, and what becomes of what is above.

[services.llm_api]
backlog = { limit = 10_000, bytes = "64MB", overflow = "reject" }
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from .duration import parse_duration
from .limit import SECOND_US, format_duration
from .quotation import quote
from .size import format_size, parse_size

_MAX_TASKS = 10**15
_BLOCK_FOR_US = 10 * SECOND_US


class Overflow(StrEnum):
    """What becomes of a submit that finds no room.

    REJECT: it is refused. SHED: the oldest of those with the lowest priority are dropped for it. BLOCK: the submitter waits.
    COALESCE: it is coalesced into one with the same key that waits, or else refused.
    """

    REJECT = "reject"
    SHED = "shed"
    BLOCK = "block"
    COALESCE = "coalesce"


def _overflow(value: object) -> object:
    names = [str(each) for each in Overflow]
    if value not in names:
        raise ValueError(f"{quote(value)} is not allowed; use {', '.join(map(quote, names[:-1]))} or {quote(names[-1])}")
    return Overflow(str(value))


class BacklogTable(BaseModel):
    """How much of a scope's work may wait, delayed work included.

    Parameters
    ----------
    limit:
        Tasks that may wait; None for any number.
    bytes:
        Bytes that their messages may take; None for any number.
    overflow:
        What becomes of a submit that finds no room; see `Overflow`.
    block_for:
        How long a submitter waits for room, if `overflow` is `"block"`; 10 s if it is not said.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    limit: Annotated[int, Field(ge=1, le=_MAX_TASKS)] | None = None
    bytes: Annotated[str, BeforeValidator(lambda size: format_size(parse_size(size)))] | None = None
    overflow: Annotated[Overflow, BeforeValidator(_overflow), Field(validate_default=True)] = Overflow.REJECT
    block_for: Annotated[str, BeforeValidator(lambda value: format_duration(parse_duration(value)))] | None = None

    @field_validator("overflow")
    @classmethod
    def _is_of_use(cls, overflow: Overflow, info: ValidationInfo) -> Overflow:
        capped = info.data.get("limit", 1) is not None or info.data.get("bytes", 1) is not None
        if not capped:
            raise ValueError(f"{quote(str(overflow))} has no cap; add limit or bytes")
        return overflow

    @field_validator("block_for")
    @classmethod
    def _somebody_waits(cls, block_for: str | None, info: ValidationInfo) -> str | None:
        if block_for is not None and info.data.get("overflow", Overflow.BLOCK) is not Overflow.BLOCK:
            raise ValueError(f'{quote(block_for)} has no effect; add overflow = "block", or remove block_for')
        return block_for

    @property
    def most_bytes(self) -> int | None:
        """`bytes` as a number."""
        return None if self.bytes is None else parse_size(self.bytes)

    @property
    def block_us(self) -> int:
        """How long a submitter waits, in microseconds; 0 for not at all."""
        if self.overflow is not Overflow.BLOCK:
            return 0
        return _BLOCK_FOR_US if self.block_for is None else parse_duration(self.block_for)
