"""A desk is where a limiter makes its charges: at the server, in a line before it, or with a stand-in while it is away.

One call goes through at most three doors:

    the server        admits it, or refuses it: then it has no time to wait, or stands in line until its deadline
    the line          serves in order of arrival; who waits there rides out a restart of the server
    the stand-in      where the service's policy is `open` or `local`, and the server does not answer

A server that is away is asked once a second, on a short timeout, so an outage costs the calls of such a service nothing.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import ServerUnreachable
from .limit import SECOND_US
from .line import LEAVE_LINE, TAKE_TURN, Place, Watch, is_hopeless, passing_by, stated
from .listener import Listener
from .outage import PROBE_S, OnUnreachable, Outage, Policy
from .server import UNREACHABLE, url_of
from .stand_in import LET_PASS, StandInReply, stand_in_of
from .teller import ACQUIRE, UNCHARGED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .account import Account
    from .link import AnyLink, Link
    from .teller import Teller, Values

log = logging.getLogger(__name__)


class Ask(NamedTuple):
    """What one call asks of its limits.

    Parameters
    ----------
    account, requests, tokens, holder:
        The limits, the units, and who takes the slots.
    now_us:
        Microseconds, for tests and the simulator.
    timeout_s:
        Seconds that it waits; 0.0 for not at all.
    policy:
        What becomes of it while the server is away.
    """

    account: Account
    requests: int
    tokens: int
    holder: str
    now_us: int | None
    timeout_s: float
    policy: Policy


class AnyDesk:
    """What `Desk` and `AsyncDesk` share: what is decided without waiting for anybody."""

    def __init__(self, link: AnyLink, teller: Teller) -> None:
        self._teller, self.prefix = teller, teller.prefix
        self._watch = Watch()
        self.outage = Outage()
        self.stand_in = stand_in_of(url_of(link.client), teller.prefix)

    def _charge_of(self, ask: Ask) -> Values:
        return self._teller.charge(ask.account, ask.requests, ask.tokens, ask.holder, ask.now_us)

    def _decide_alone(self, ask: Ask) -> StandInReply:
        if ask.policy.on_unreachable is OnUnreachable.OPEN:
            return LET_PASS
        account, share, requests, tokens, holder = ask.account, ask.policy.local_share, ask.requests, ask.tokens, ask.holder
        lease_us = self._teller.lease_us
        return self.stand_in.charge(account, share, requests, tokens, holder, lease_us=lease_us, now_us=ask.now_us)

    def _lose(self, error: ServerUnreachable) -> None:
        if self.outage.begin():
            log.warning("%s Until it is back, each service goes on as its on_unreachable says.", error)

    def _find(self) -> None:
        if self.outage.is_on and self.outage.end():
            log.info("the server is back, and decides again")


class Desk(AnyDesk):
    """Where a sync limiter makes its charges. Threads may share it.

    Parameters
    ----------
    link:
        The way to the server.
    teller:
        Words the charges.
    """

    def __init__(self, link: Link, teller: Teller) -> None:
        super().__init__(link, teller)
        self._link = link

    def charge(self, ask: Ask) -> Sequence[Any]:
        """The decision, as acquire.lua words it.

        Raises
        ------
        CostTooLarge
            A limit never holds as many units.
        ServerUnreachable
            Nobody answers, and the policy is `closed`; for one who waits, until its deadline.
        """
        charge = self._charge_of(ask)
        if not ask.account.is_asked:
            if self.outage.is_on and self._server_is_back():
                self._find()
            return UNCHARGED
        deadline_s = time.monotonic() + ask.timeout_s if ask.timeout_s else 0.0
        while True:
            reply = self._decide(ask, charge, deadline_s)
            if reply[0] or not ask.timeout_s or not isinstance(reply, StandInReply):
                return reply
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return reply
            time.sleep(min(reply[3] / SECOND_US, PROBE_S, left_s))

    def _decide(self, ask: Ask, charge: Values, deadline_s: float) -> Sequence[Any]:
        if ask.policy.has_stand_in and self.outage.is_on and not self._server_is_back():
            return self._decide_alone(ask)
        try:
            reply = self._ask_server(ask, charge, deadline_s)
        except ServerUnreachable as error:
            self._lose(error)
            if ask.policy.has_stand_in:
                return self._decide_alone(ask)
            raise
        self._find()
        return reply

    def _server_is_back(self) -> bool:
        return self.outage.claims_probe() and self._link.answers()

    def _ask_server(self, ask: Ask, charge: Values, deadline_s: float) -> Sequence[Any]:
        reply: list[Any] = self._link.run(ACQUIRE, *charge)
        if reply[0] > 0:
            return reply
        if ask.timeout_s and not is_hopeless(ask.account, reply, ask.timeout_s):
            return self._wait(Place(ask.account, charge, deadline_s), ask.policy)
        if reply[0] < 0:
            reply = stated(self._link.run(TAKE_TURN, *passing_by(ask.account, charge))[0])
        return reply

    def _wait(self, place: Place, policy: Policy) -> Sequence[Any]:
        listener = Listener(self._link.client, place.channel)
        try:
            while True:
                reply = self._take_turn(place, listener, policy)
                if reply and (reply[0] > 0 or place.has_to_give_up(reply)):
                    return stated(reply)
                self._sleep(place, listener)
        finally:
            self._leave(place)
            listener.close()

    def _take_turn(self, place: Place, listener: Listener, policy: Policy) -> Sequence[Any]:
        """The decision; nothing while the server is away and the waiter rides that out."""
        try:
            try:
                listener.listen()
            except UNREACHABLE as error:
                listener.close()
                raise self._link.unreachable(error) from error
            answer = self._link.run(TAKE_TURN, *place.turn())
        except ServerUnreachable:
            if policy.has_stand_in or not place.stands or not place.left_s():
                raise
            time.sleep(min(PROBE_S, place.left_s()))
            return ()
        self._watch.looked(place.line)
        return place.note(answer)

    def _sleep(self, place: Place, listener: Listener) -> None:
        while not listener.wait(place.pause_s()):
            if place.has_turn or not place.left_s() or self._watch.is_due(place.line):
                return

    def _leave(self, place: Place) -> None:
        if place.stands:
            try:
                self._link.run(LEAVE_LINE, *place.departure())
            except ServerUnreachable:
                log.debug("a place in a line is not given up, and is skipped")
