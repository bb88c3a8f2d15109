"""What asks for workers at one moment: what `demand.lua` saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

HORIZON_S = 10.0
ALL_SERVICES = "*"


class Presence(NamedTuple):
    """What a worker says of itself.

    Parameters
    ----------
    processes:
        How many tasks it can run at a time now.
    busy:
        How many it runs.
    held:
        Tasks that it has and does not run yet, unlimited ones: of the others their leases tell.
    age_us:
        How long those that it runs have been running, on average.
    scales:
        1 if the size of its pool follows the demand, else 0.
    """

    processes: int
    busy: int = 0
    held: int = 0
    age_us: int = 0
    scales: int = 0

    def __str__(self) -> str:
        return " ".join(map(str, self))

    @classmethod
    def read(cls, text: bytes) -> Presence:
        return cls(*map(int, text.split()))


@dataclass(frozen=True, slots=True)
class LimitSupply:
    """What a limit gives.

    Parameters
    ----------
    name:
        Its scope and its own name, such as `service:llm_api requests/1m`.
    unit:
        What it counts: `requests` or `tokens`.
    until_then:
        Units that it admits until the horizon.
    slots, taken:
        Slots that are free and taken; None if it caps no work in flight.
    """

    name: str
    unit: str = "requests"
    until_then: float = 0.0
    slots: int | None = None
    taken: int = 0


@dataclass(frozen=True, slots=True)
class LaneDemand:
    """Waiting tasks that share their limits, given as positions in `Demand.limits`; what each costs."""

    service: str
    waiting: int
    limits: tuple[int, ...] = ()
    requests: int = 1
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Demand:
    """One moment of a realm, or of some of its queues.

    Parameters
    ----------
    ready:
        Tasks that lie in the broker's queues, or with a worker, and do not run yet.
    crew:
        The workers that live, by name.
    run_times_us:
        How long tasks of each service run on average, and of all of them (`ALL_SERVICES`).
    limits, lanes:
        What waits in Turgor, the next to move first, and what holds it.
    """

    ready: int = 0
    crew: Mapping[str, Presence] = field(default_factory=dict[str, Presence])
    run_times_us: Mapping[str, int] = field(default_factory=dict[str, int])
    limits: tuple[LimitSupply, ...] = ()
    lanes: tuple[LaneDemand, ...] = ()

    @classmethod
    def read(cls, reply: list[Any]) -> Demand:
        """From the reply of `demand.lua`."""
        ready, crew, run_times, limits, lanes = reply
        members = {name.decode(): Presence.read(presence) for name, presence in _pairs(crew)}
        return cls(
            ready + sum(member.held for member in members.values()),
            members,
            {service.decode(): int(record.split()[0]) for service, record in _pairs(run_times)},
            tuple(_limit(*fields) for fields in limits),
            tuple(_lane(*fields) for fields in lanes),
        )

    @property
    def waiting(self) -> int:
        """Tasks that wait in Turgor. Where very many lanes wait, at least so many."""
        return sum(lane.waiting for lane in self.lanes)

    @property
    def processes(self) -> int:
        """How many tasks the workers that live can run at a time."""
        return sum(member.processes for member in self.crew.values())

    @property
    def running(self) -> int:
        return sum(member.busy for member in self.crew.values())


def _limit(*fields: Any) -> LimitSupply:
    scope, limit_id, unit, until_then, slots, taken = fields
    name, free = f"{scope.decode()} {limit_id.decode()}", None if slots < 0 else slots
    return LimitSupply(name, unit.decode(), float(until_then), free, taken)


def _lane(service: bytes, waiting: int, requests: int, tokens: int, *limits: int) -> LaneDemand:
    return LaneDemand(service.decode(), waiting, limits, requests, tokens)


def _pairs(fields: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(fields[::2], fields[1::2], strict=True)
