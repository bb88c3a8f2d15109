"""The token of a call: of one that the server admitted, or of one that a stand-in admitted in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .rate_token import RateToken
from .stand_in import StandInReply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .desk import AnyDesk, Ask
    from .link import Link


class StandInToken(RateToken):
    """A call that was admitted without the server. Its slots are this process's own; its tokens are not settled."""

    def __init__(self, ask: Ask, reply: StandInReply, link: Link, desk: AnyDesk) -> None:
        super().__init__(link, desk.prefix, ask.account, reply, holder=ask.holder, tokens=ask.tokens)
        self._stand_in = desk.stand_in

    def _correct(self, tokens: int, *, ends: bool, now_us: int | None) -> None:  # noqa: ARG002  no time passes in here
        if ends:
            self._stand_in.free(self._account, self._holder)
        self._note(tokens, ends=ends)


def token_of(ask: Ask, reply: Sequence[Any], link: Link, desk: AnyDesk) -> RateToken:
    """The token of a call that was admitted."""
    if isinstance(reply, StandInReply):
        return StandInToken(ask, reply, link, desk)
    return RateToken(link, desk.prefix, ask.account, reply, holder=ask.holder, tokens=ask.tokens)
