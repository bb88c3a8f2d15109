"""The gate: every publish of a task comes through here, and limited work goes to the scheduler."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from celery.utils.time import maybe_make_aware
from kombu import Producer

from ..limits.config import LimitsConfig
from ..limits.token_budget import TokenBudget, TokenBudgets
from ..scheduler.coalesce_key import CoalesceKey
from ..scheduler.lane import Priority
from ..scheduler.scheduler import SECOND_US
from .caller import HEADERS, ORIGIN_HEADER, Call, take_call
from .coalescing import CoalesceKeys
from .continuation import repeats
from .envelope import FENCE_HEADER, FORECAST_HEADER
from .errors import UnsupportedProtocol
from .gate_producer import GateProducer
from .insistence import insist
from .receipt import take_receipt
from .refusing_producer import RefusingProducer
from .relief import Relief
from .retrying import RETRY_HEADER, first_trail

if TYPE_CHECKING:
    from .turgor import Turgor

_OWN_TASKS = "celery."


class Gate:
    """Decides, for each publish, whether it goes to the broker or to the scheduler."""

    def __init__(self, turgor: Turgor) -> None:
        turgor.check_leases()
        self._turgor = turgor
        self._budgets, self._keys = TokenBudgets(LimitsConfig()), CoalesceKeys(LimitsConfig())
        self._relief = Relief(turgor)

    def admit(
        self, producer: Producer, name: str, message: Any, options: dict[str, Any]
    ) -> tuple[Producer | GateProducer | RefusingProducer, str]:
        """The producer that the task is to be published with, and the task's name: that of another one if it is degraded.

        Takes Turgor's own options out of `options`.

        Raises
        ------
        UnknownService
            The task names a service that has no limits.
        UnsupportedProtocol
            The app speaks Celery's old message protocol.
        ValueError
            An option has a value that it cannot have.

        A task that is shed raises `ServiceUnderPressure` when it is published.
        """
        headers, asked = message.headers, take_receipt()
        if not headers:
            raise UnsupportedProtocol
        if not self._turgor.view.is_fresh():
            insist(self._turgor.view.config, headers["id"], self._turgor, self._retry_policy(options))
        call = self._call(name, headers, options)
        decision = self._relief.decide(name, call, headers, self._queue_of(options))
        if decision is not None:
            fallback = decision.step.degrade_to
            if fallback is None:
                return RefusingProducer(producer, self._relief.refuse(name, call, decision)), name
            self._relief.replace(name, fallback, call, message, options)
            name, call = fallback, self._call(fallback, headers, options)
        gated = self._producer(producer, name, message, call, options)
        if asked is not None and isinstance(gated, GateProducer):
            headers[FORECAST_HEADER] = True
            gated.receipt = asked
        if asked is not None and decision is not None:
            asked.degraded_to = name
        return gated, name

    def _producer(
        self, producer: Producer, name: str, message: Any, call: Call, options: dict[str, Any]
    ) -> Producer | GateProducer:
        headers, key = message.headers, self._coalesce_key(name, call, message)
        limited = self._is_limited(name, call)
        if limited and call.tokens is None and (budget := self._budget_of(call)):
            policy = self._retry_policy(options)
            estimate = insist(lambda: self._turgor.estimate_book.of_task(name), headers["id"], self._turgor, policy)
            call = call.reserving(budget, None if estimate is None else estimate.quantile)
        if custom := options.get("headers"):
            # A retry brings the headers of the message before it; what this publish says is in `call`.
            ours = {FENCE_HEADER, FORECAST_HEADER, ORIGIN_HEADER, *(HEADERS if headers.get("retries") else call.headers)}
            options["headers"] = {key: value for key, value in custom.items() if key not in ours}
        eta = headers.get("eta")
        due_us = _due_us(eta, self._turgor.app.timezone) if eta else None
        if limited and call.priority is None:
            call = replace(call, priority=Priority.NORMAL)
        headers.update(call.headers)
        if not headers.get("retries") and (trail := first_trail(self._turgor.app, name)):
            headers[RETRY_HEADER] = trail
        if not limited and due_us is None and not (self._turgor.lease_all and not _is_broadcast(options)):
            return producer
        if limited:
            options["priority"] = call.priority
        headers["eta"] = None
        expires, zone = headers.get("expires"), self._turgor.app.timezone
        expires_us = _due_us(expires, zone) if expires else None
        return GateProducer(
            producer,
            self._turgor,
            call,
            limited=limited,
            due_us=due_us,
            expires_us=expires_us,
            continues=repeats(headers),
            key=key,
        )

    def _coalesce_key(self, name: str, call: Call, message: Any) -> CoalesceKey | None:
        config = self._turgor.view.config()
        if self._keys.config is not config:
            self._keys = CoalesceKeys(config)
        return self._keys.of_call(name, call, message)

    def _retry_policy(self, options: dict[str, Any]) -> dict[str, Any] | None:
        """The policy that Celery will publish with; None if it is not to try again."""
        conf, retry = self._turgor.app.conf, options.get("retry")
        if not (conf.task_publish_retry if retry is None else retry):
            return None
        return {**conf.task_publish_retry_policy, **(options.get("retry_policy") or {})}

    def _queue_of(self, options: dict[str, Any]) -> str:
        """Where the task will go, as far as that is known before it is routed."""
        queue = options.get("queue") or options.get("routing_key") or self._turgor.app.conf.task_default_queue
        return getattr(queue, "name", queue)

    def _call(self, name: str, headers: dict[str, Any], options: dict[str, Any]) -> Call:
        """What the publish says about its task, completed from the `[tasks]` table; its service is known."""
        call, config = take_call(self._turgor.app, name, headers, options), self._turgor.view.config()
        if not call.service:
            service, endpoint = config.scopes_of(name)
            call = replace(call, service=service, endpoint=endpoint)
        if call.service and config.services:
            config.check_service(call.service, call.endpoint, task=name)
        return call

    def _budget_of(self, call: Call) -> TokenBudget | None:
        """What the call may reserve, if a limit of its scopes counts tokens."""
        config = self._turgor.view.config()
        if self._budgets.config is not config:
            self._budgets = TokenBudgets(config)
        return self._budgets.of_call(call.scopes, call.priority_or_normal) if self._budgets.are_any else None

    def _is_limited(self, name: str, call: Call) -> bool:
        if name.startswith(_OWN_TASKS) and not call.service:
            return False
        return self._turgor.view.is_limited(call.scopes)


def _is_broadcast(options: dict[str, Any]) -> bool:
    """Whether every worker gets a copy: there is no queue then that a release could go to."""
    exchange: Any = getattr(options.get("queue"), "exchange", None)
    return "fanout" in (options.get("exchange_type"), getattr(exchange, "type", None))


def _due_us(eta: str, timezone: Any) -> int:
    moment = maybe_make_aware(datetime.fromisoformat(eta), timezone)
    return round(moment.timestamp() * SECOND_US)
