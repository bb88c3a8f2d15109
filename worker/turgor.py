"""`Turgor(app)`: the one line that an application adds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from os import PathLike
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from celery import current_app
from celery.signals import worker_process_init
from kombu.utils.imports import symbol_by_name

from ..limits.config import LimitsConfig
from ..limits.keys import Keys
from ..limits.lua import Client
from ..limits.server import check_server
from ..scheduler.demand import HORIZON_S
from ..scheduler.desired_workers import DesiredWorkers, desired_workers
from ..scheduler.dispatcher import Dispatcher
from ..scheduler.explanation import Explanation, TaskState
from ..scheduler.lane import Lane
from ..scheduler.outbox import Outbox
from ..scheduler.scheduler import Cancelled, Scheduler
from . import unleased
from .asynchronous_loop import AsyncLoop
from .broker import Broker
from .caller import Call, positive_seconds
from .claims import guard_tasks
from .declaration import watch_declarations
from .envelope import stored_messages
from .errors import AlreadyInstalled, LeasesNeedTheBroker
from .expiry import tell
from .gate_amqp import GatedAMQP
from .loop import Loop
from .publisher import Publisher
from .realm import Realm
from .revocation import GatedControl
from .statistics import TurgorStatistics, relieved

if TYPE_CHECKING:
    from celery import Celery

    from .request import End


class Turgor(Realm):
    """Backpressure for a Celery app.

    Every task that the app publishes comes through Turgor's gate from now on. A task that a limit
    concerns waits in Redis until all its limits allow it; any other goes straight to the broker.

    Parameters
    ----------
    app:
        The Celery app.
    limits:
        A path to a TOML file, a dict, or a `LimitsConfig`, put in force when they are new to the realm; a restart
        undoes nothing that was applied since. Nothing: what Redis holds.
    redis:
        URL of the Redis or Valkey where work waits. Nothing: the broker's own, if it is one. Any other broker, and
        one on another server or database, is told of each release by a publisher.
    realm:
        The name of this set of limits and of the work under it, where several share a server.
    dispatcher:
        Whether each worker runs a dispatcher (like `celery worker -B`). If not, run
        `celery -A proj turgor dispatch`.
    lease_all:
        Whether tasks that no limit concerns run under a lease as well; see docs/leases.md. Give it in every program
        that has the app.
    claim_within_s, lease_s:
        Seconds until an unclaimed release is looked for, and until a silent worker's task goes back.

    Raises
    ------
    ConfigError
        The limits are not valid. Says where, and what to do.
    InvalidRedisUrl
        `redis` cannot be read.
    AlreadyInstalled
        The app has its Turgor.
    ValueError
        `claim_within_s` or `lease_s` is no positive number of seconds.
    """

    def __init__(
        self,
        app: Celery,
        limits: str | PathLike[str] | Mapping[str, Any] | LimitsConfig | None = None,
        *,
        redis: str | None = None,
        realm: str = "default",
        dispatcher: bool = True,
        lease_all: bool = False,
        claim_within_s: float = 30.0,
        lease_s: float = 30.0,
    ) -> None:
        self.app = app
        self.broker, self._redis = Broker(app, redis), redis
        self.keys = Keys(realm)
        self.limits = None if limits is None else LimitsConfig.load(limits)
        self.runs_dispatcher, self.lease_all = dispatcher, lease_all
        self._claim_within_s = positive_seconds("claim_within_s", claim_within_s)
        self._lease_s = positive_seconds("lease_s", lease_s)
        self.ended: SimpleQueue[End | None] = SimpleQueue()
        if getattr(app, "turgor", None) is not None:
            raise AlreadyInstalled(repr(app.turgor))
        self._install()

    def __repr__(self) -> str:
        return f"<Turgor {self.keys.realm} of {self.app.main or 'app'}>"

    def _install(self) -> None:
        from .bootsteps import STEPS

        base = symbol_by_name(self.app.amqp_cls)
        arguments = {
            "limits": self.limits, "redis": self._redis, "realm": self.keys.realm, "dispatcher": self.runs_dispatcher,
            "lease_all": self.lease_all, "claim_within_s": self._claim_within_s, "lease_s": self._lease_s,
        }  # fmt: skip
        self.app.amqp_cls = GatedAMQP(base, type(self), arguments)
        if not isinstance(self.app.control_cls, GatedControl):
            self.app.control_cls = GatedControl(self.app.control_cls)
        vars(self.app).pop("control", None)
        self.app.turgor = self
        watch_declarations(self.app)
        before = vars(self.app).pop("amqp", None)
        if before is not None and "queues" in vars(before):
            vars(self.app.amqp)["queues"] = before.queues
        for blueprint, steps in STEPS.items():
            self.app.steps[blueprint].update(steps)

    @property
    def url(self) -> str:
        """Where the realm lives; see `Broker.url`."""
        return self.broker.url

    @cached_property
    def client(self) -> Client:
        return self.broker.client()

    @cached_property
    def scheduler(self) -> Scheduler:
        return Scheduler(self.client, self.keys, claim_within_s=self._claim_within_s, lease_s=self._lease_s)

    @cached_property
    def outbox(self) -> Outbox:
        """Releases that are to be published, if the broker is elsewhere."""
        return Outbox(self.client, self.keys, claim_within_s=self._claim_within_s)

    def publisher(self) -> Publisher | None:
        """A publisher of this realm, if the broker is elsewhere. Any number may run, anywhere."""
        return Publisher(self) if self.broker.is_elsewhere else None

    @property
    def program(self) -> str:
        """The name under which the app brings its limits."""
        return self.app.main or "app"

    def dispatcher(self) -> Dispatcher:
        """A dispatcher of this realm. Any number may run, anywhere."""
        return Dispatcher(self.scheduler, lambda expired: tell(self.app, expired))

    def cancel(self, task_id: str) -> Cancelled:
        """Take a task out that waits or is delayed. Nothing was charged for it.

        A task that is released already is not stopped: use `app.control.revoke`.
        """
        for key, call, lane in self._stored(task_id):
            cancelled = self.scheduler.cancel(key, lane, weight=call.weight, tokens=call.tokens or 0)
            if cancelled is not Cancelled.UNKNOWN:
                return cancelled
        return Cancelled.UNKNOWN

    def explain(self, task_id: str) -> Explanation:
        """Where a task is and what holds it; UNKNOWN if it is unlimited, has ended or was never seen."""
        for key, call, lane in self._stored(task_id):
            found = self.scheduler.explain(key, lane, weight=call.weight, tokens=call.tokens or 0)
            if found.state is not TaskState.UNKNOWN:
                return replace(found, task=task_id)
        return Explanation(task_id, TaskState.UNKNOWN)

    def desired_workers(self, queues: Iterable[str] = (), *, horizon_s: float = HORIZON_S) -> DesiredWorkers:
        """How many processes the work of some queues, or of all, has use for, and what binds; see docs/autoscaling.md."""
        demand = self.scheduler.demand(horizon_s=horizon_s, queues=[self.broker_key(name) for name in queues])
        return desired_workers(demand, horizon_s=horizon_s)

    def loop(self, name: str, *, type: str = "", **options: Any) -> Loop:  # noqa: A002  the word of the limits
        """A loop of the app: submits, alone or many at once, says where its work is, takes it back; see `Loop`."""
        return Loop(self, name, type=type, **options)

    def async_loop(self, name: str, *, type: str = "", **options: Any) -> AsyncLoop:  # noqa: A002  the word of the limits
        """The same for asyncio."""
        return AsyncLoop(self.loop(name, type=type, **options))

    def statistics(self) -> TurgorStatistics:
        """What the realm knows of its own work."""
        return TurgorStatistics(self.forecasts.statistics(), relieved(self.client, self.keys), unleased.count(self))

    def _stored(self, task_id: str) -> Iterator[tuple[str, Call, Lane]]:
        """Every attempt of the task that is here, with the lanes that it may be in."""
        for key, message in stored_messages(self.client, self.keys, task_id):
            queue = self.broker_key(message["properties"]["delivery_info"]["routing_key"])
            call = Call.from_headers(message["headers"])
            yield key, call, call.lane(queue, limited=True)
            yield key, call, call.lane(queue, limited=False)

    def broker_key(self, queue: str) -> str:
        """What the scheduler calls the broker's queue: the key of the list that kombu reads, or a name in the outbox."""
        return self.outbox.key(queue) if self.broker.is_elsewhere else self._key_prefix + queue

    @cached_property
    def _key_prefix(self) -> str:
        return self.app.conf.broker_transport_options.get("global_keyprefix", "")

    def check_leases(self) -> None:
        """Make sure that leases can do what is asked of them. Raises `LeasesNeedTheBroker` if they cannot."""
        if self.lease_all and self.broker.is_elsewhere:
            raise LeasesNeedTheBroker(str(self.broker))

    def start(self) -> None:
        """Check the server and publish the limits. Workers and dispatchers do this first.

        Raises
        ------
        ServerUnreachable, UnsupportedServer, UnsupportedBroker, LeasesNeedTheBroker
            With the URL, and what to do.
        """
        self.check_leases()
        check_server(self.client, self.url)
        self.view.refresh()


@worker_process_init.connect
def _guard_process(**_: Any) -> None:
    """Guard the tasks of a pool process. One that was spawned has a copy of the app, which gets its Turgor with its `amqp`."""
    app = current_app._get_current_object()
    if app.amqp and getattr(app, "turgor", None) is not None:
        guard_tasks(app)
