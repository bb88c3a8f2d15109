"""Publishes what lies in the outbox: takes releases, brings them to the broker, confirms; sleeps until there are more.

A broker that does not answer is said once, and tried again ever more rarely. Its releases stay in the outbox; there
are never more of them than its workers can take, because what is not claimed counts against that.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from ..limits.server import UNAVAILABLE
from ..scheduler.bell import Bell
from ..scheduler.scheduler import SECOND_US
from ..scheduler.service import LONGEST_SLEEP_S, Service
from .delivery import CONFIRM_WITHIN_S, Delivery, Refusal, connect

if TYPE_CHECKING:
    from ..scheduler.outbox import Taken
    from .turgor import Turgor

logger = logging.getLogger(__name__)

AT_ONCE = 100
# Longer than a delivery may take: nobody else publishes what is still on its way.
PUBLISH_WITHIN_S = CONFIRM_WITHIN_S + 1.0
REFUSED_FOR_S = 30.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 10.0


class BrokerOutOfReach(Exception):
    """The broker did not answer, or broke off."""


class Publisher(Service):
    """One publisher. Any number may run, in threads, processes and machines.

    Parameters
    ----------
    turgor:
        The app's Turgor, whose broker is elsewhere.
    """

    def __init__(self, turgor: Turgor) -> None:
        self._turgor, self._outbox = turgor, turgor.outbox
        super().__init__("turgor-publisher", Bell(turgor.client, turgor.keys("outbox_bell")))
        self._delivery: Delivery | None = None
        self._at_once, self._pause_s = AT_ONCE, 0.0

    def run_once(self) -> Taken:
        """Publish what may be published now, at most a hundred. What the broker refuses is tried again much later.

        Raises
        ------
        BrokerOutOfReach
            The broker is away. Whatever was taken is left to the next.
        """
        delivery = self._connected()
        taken = self._outbox.take(self._at_once, PUBLISH_WITHIN_S)
        try:
            refused = delivery.publish(taken.releases)
            empty = [queue for queue in taken.asked if delivery.is_empty(queue)]
        except delivery.broken_by as error:
            self._disconnect()
            # RabbitMQ closes the channel on what it does not take, and does not say what that was: so one by one.
            if not isinstance(error, delivery.refused_by) or len(taken.releases) != 1:
                self._at_once = 1
                self._outbox.give_back(taken.releases)
                raise BrokerOutOfReach(str(error) or type(error).__name__) from error
            refused, empty = [(taken.releases[0], error)], []
        else:
            self._at_once = min(AT_ONCE, 2 * self._at_once)
        self._settle(taken, refused)
        for queue in empty:
            self._outbox.seen_empty(queue, taken.at_us)
        return taken

    def _settle(self, taken: Taken, refused: list[Refusal]) -> None:
        again_us = taken.at_us + round(REFUSED_FOR_S * SECOND_US)
        self._outbox.give_back([each for each, _ in refused], not_before_us=again_us)
        for each, error in refused:
            logger.error(
                "The broker refuses task %s for queue %r, tried again in %.0f s: %s", each.task, each.queue, REFUSED_FOR_S, error
            )
        fences = {each.fence for each, _ in refused}
        self._outbox.confirm([each for each in taken.releases if each.fence not in fences])

    def run(self) -> None:
        """Publish until `stop`."""
        while not self._stopped.is_set():
            try:
                taken = self.run_once()
                self._note_reachable()
                self._sleep(taken.next_in_s)
            except BrokerOutOfReach as error:
                self._note_unreachable(error)
                self._stopped.wait(self._pause_s)
            except UNAVAILABLE as error:
                logger.warning("Redis is out of reach: %s", error)
                self._stopped.wait(LONGEST_SLEEP_S)
            except Exception:  # a thread that ends here would leave the workers idle, and nobody told
                logger.exception("The publisher goes on after an error")
                self._disconnect()
                self._stopped.wait(LONGEST_SLEEP_S)
        self._bell.close()
        self._disconnect()

    def _connected(self) -> Delivery:
        if self._delivery is None:
            try:
                self._delivery = connect(self._turgor.app)
            except Exception as error:  # each transport has its own ways to say that nobody answers
                raise BrokerOutOfReach(str(error) or type(error).__name__) from error
        return self._delivery

    def _disconnect(self) -> None:
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            with contextlib.suppress(Exception):  # it is broken
                delivery.close()

    def _note_reachable(self) -> None:
        if self._pause_s > _FIRST_PAUSE_S:
            logger.info("The broker is back: publishing")
        self._pause_s = 0.0

    def _note_unreachable(self, error: BrokerOutOfReach) -> None:
        # A connection that broke while nothing was sent is no outage yet.
        if self._pause_s == _FIRST_PAUSE_S:
            logger.error("Broker %s is out of reach, releases wait for it: %s", self._turgor.broker, error)
        self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s) if self._pause_s else _FIRST_PAUSE_S
