"""Virtual time, real scripts: the share follows a service whose true limit is lower than configured, and moves."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from redis import Redis

from limit_calls import START_US
from turgor.limits import HierarchicalLimiter
from turgor.limits.keys import Keys
from turgor.limits.limit import SECOND_US
from turgor.limits.outcome import Outcome
from turgor.limits.rate_token import REPORT

CONFIGURED = 40
STEP_US = SECOND_US // 50
CONFIG = {
    "services": {
        "api": {
            "requests_per_second": CONFIGURED,
            "adaptive": {"floor": 0.1, "decrease": 0.8, "recovery": "40s", "reaction": "1s"},
        }
    }
}


@dataclass
class Service:
    """Answers at most `limit` calls in any second, and refuses the others, which it does not count."""

    limit: int
    answered: deque[int] = field(default_factory=deque[int])

    def call(self, now_us: int) -> Outcome:
        while self.answered and self.answered[0] <= now_us - SECOND_US:
            self.answered.popleft()
        if len(self.answered) >= self.limit:
            return Outcome.THROTTLED
        self.answered.append(now_us)
        return Outcome.OK


class Second(NamedTuple):
    answered: int
    refused: int
    factor: float


@dataclass
class World:
    """A caller that always wants more, a limiter, and the service behind it."""

    client: Redis
    realm: str
    service: Service
    now_us: int = START_US

    def __post_init__(self) -> None:
        self.limiter = HierarchicalLimiter(self.client, CONFIG, realm=self.realm)

    def second(self) -> Second:
        outcomes: list[Outcome] = []
        for _ in range(SECOND_US // STEP_US):
            while self.limiter.try_acquire(service="api", now_us=self.now_us):
                outcome = self.service.call(self.now_us)
                outcomes.append(outcome)
                # Not `token.throttled`, which would close the service besides: here the share is alone.
                REPORT(self.client, Keys(self.realm).prefix, self.now_us, "api", outcome, "", self.now_us)
            self.now_us += STEP_US
        factor = self.limiter.health("api", now_us=self.now_us).factor
        return Second(outcomes.count(Outcome.OK), outcomes.count(Outcome.THROTTLED), factor)

    def run(self, seconds: int) -> list[Second]:
        return [self.second() for _ in range(seconds)]


def test_the_share_comes_down_to_what_the_service_takes_follows_it_and_recovers(redis_client: Redis, realm: str) -> None:
    world = World(redis_client, realm, Service(CONFIGURED))

    healthy = world.run(5)
    assert all(each == (each.answered, 0, 1.0) for each in healthy), "nothing is cut that is not refused"
    assert sum(each.answered for each in healthy) >= 0.97 * 5 * CONFIGURED

    for limit in (24, 12):
        world.service.limit = limit
        coming_down, settled = world.run(10), world.run(40)
        assert coming_down[0].refused > 0
        share = limit / CONFIGURED
        # It saws between the share and 0.8 of it; whole units and the reaction add a little on both sides.
        assert all(0.8 * share - 0.06 <= each.factor <= share + 0.06 for each in settled), settled
        answered, refused = sum(each.answered for each in settled), sum(each.refused for each in settled)
        assert refused <= 0.04 * answered, (answered, refused)
        assert answered >= 0.8 * limit * 40, answered

    world.service.limit = CONFIGURED
    recovery = world.run(40)
    factors = [each.factor for each in recovery]
    assert factors == sorted(factors)
    assert factors[-1] == 1.0
    assert recovery[-1].refused == 0


def test_a_service_that_is_down_leaves_the_floor(redis_client: Redis, realm: str) -> None:
    world = World(redis_client, realm, Service(0))

    seconds = world.run(20)

    assert seconds[-1].factor == 0.1
    assert seconds[-1].refused <= CONFIGURED // 10
