"""`Desk` for asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from .desk import AnyDesk, Ask, Policy, log
from .errors import ServerUnreachable
from .limit import SECOND_US
from .line import LEAVE_LINE, TAKE_TURN, Place, is_hopeless, passing_by, stated
from .listener import AsyncListener
from .outage import PROBE_S
from .server import UNREACHABLE
from .stand_in import StandInReply
from .teller import ACQUIRE, UNCHARGED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .link import AsyncLink
    from .teller import Teller, Values


class AsyncDesk(AnyDesk):
    """Where an async limiter makes its charges; see `Desk`."""

    def __init__(self, link: AsyncLink, teller: Teller) -> None:
        super().__init__(link, teller)
        self._link = link

    async def charge(self, ask: Ask) -> Sequence[Any]:
        """`Desk.charge`."""
        charge = self._charge_of(ask)
        if not ask.account.is_asked:
            if self.outage.is_on and await self._server_is_back():
                self._find()
            return UNCHARGED
        deadline_s = time.monotonic() + ask.timeout_s if ask.timeout_s else 0.0
        while True:
            reply = await self._decide(ask, charge, deadline_s)
            if reply[0] or not ask.timeout_s or not isinstance(reply, StandInReply):
                return reply
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return reply
            await asyncio.sleep(min(reply[3] / SECOND_US, PROBE_S, left_s))

    async def _decide(self, ask: Ask, charge: Values, deadline_s: float) -> Sequence[Any]:
        if ask.policy.has_stand_in and self.outage.is_on and not await self._server_is_back():
            return self._decide_alone(ask)
        try:
            reply = await self._ask_server(ask, charge, deadline_s)
        except ServerUnreachable as error:
            self._lose(error)
            if ask.policy.has_stand_in:
                return self._decide_alone(ask)
            raise
        self._find()
        return reply

    async def _server_is_back(self) -> bool:
        return self.outage.claims_probe() and await self._link.answers()

    async def _ask_server(self, ask: Ask, charge: Values, deadline_s: float) -> Sequence[Any]:
        reply: list[Any] = await self._link.run(ACQUIRE, *charge)
        if reply[0] > 0:
            return reply
        if ask.timeout_s and not is_hopeless(ask.account, reply, ask.timeout_s):
            return await self._wait(Place(ask.account, charge, deadline_s), ask.policy)
        if reply[0] < 0:
            reply = stated((await self._link.run(TAKE_TURN, *passing_by(ask.account, charge)))[0])
        return reply

    async def _wait(self, place: Place, policy: Policy) -> Sequence[Any]:
        listener = AsyncListener(self._link.client, place.channel)
        try:
            while True:
                reply = await self._take_turn(place, listener, policy)
                if reply and (reply[0] > 0 or place.has_to_give_up(reply)):
                    return stated(reply)
                await self._sleep(place, listener)
        finally:
            # A task that is cancelled gives up its place as well.
            await asyncio.shield(self._leave(place))
            await asyncio.shield(listener.close())

    async def _take_turn(self, place: Place, listener: AsyncListener, policy: Policy) -> Sequence[Any]:
        try:
            try:
                await listener.listen()
            except UNREACHABLE as error:
                await listener.close()
                raise self._link.unreachable(error) from error
            answer = await self._link.run(TAKE_TURN, *place.turn())
        except ServerUnreachable:
            if policy.has_stand_in or not place.stands or not place.left_s():
                raise
            await asyncio.sleep(min(PROBE_S, place.left_s()))
            return ()
        self._watch.looked(place.line)
        return place.note(answer)

    async def _sleep(self, place: Place, listener: AsyncListener) -> None:
        while not await listener.wait(place.pause_s()):
            if place.has_turn or not place.left_s() or self._watch.is_due(place.line):
                return

    async def _leave(self, place: Place) -> None:
        if place.stands:
            try:
                await self._link.run(LEAVE_LINE, *place.departure())
            except ServerUnreachable:
                log.debug("a place in a line is not given up, and is skipped")
