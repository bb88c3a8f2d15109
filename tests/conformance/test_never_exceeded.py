"""100,000 random calls under every kind of limit at once: no limit of any scope is ever exceeded."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice

import pytest
from redis import Redis

from .judge import Admitted, Court
from .traffic import LIMITS, PATTERNS, Pattern, Request, requests
from .wire import LEASE_US, SETTLE, Answer, Wire

START_US = 1_800_000_000_000_000
CALLS = 10_000
"""For each of five patterns, one by one and in batches: 100,000."""
CHUNK = 200


@pytest.mark.parametrize("in_batches", [False, True], ids=["one by one", "in batches"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
def test_no_limit_is_ever_exceeded(redis_client: Redis, realm: str, pattern: Pattern, in_batches: bool) -> None:
    wire, run = Wire(redis_client, realm, LIMITS, in_batches=in_batches), _Run()
    stream = requests(pattern, CALLS, start_us=START_US)

    while chunk := list(islice(stream, CHUNK)):
        answers = wire.ask(chunk)
        run.judge(answers)
        wire.run(SETTLE, run.end_some(wire, chunk[-1].at_us))

    assert run.admitted > CALLS // 20
    assert run.refused > CALLS // 20
    assert {binding.rpartition(" ")[2] for binding in run.refusals} >= {"requests/1s", "burst"}


class _Run:
    """Judges what was admitted, and ends some of it: the others' slots lapse."""

    def __init__(self) -> None:
        self._court, self._rng = Court(LIMITS), random.Random(2)
        self._open: list[tuple[Answer, Admitted]] = []
        self.admitted = self.refused = 0
        self.refusals = Counter[str]()

    def judge(self, answers: list[Answer]) -> None:
        for answer in answers:
            if not answer.allowed:
                self.refused += 1
                self.refusals[answer.binding] += 1
                continue
            self.admitted += 1
            request = answer.request
            call = Admitted(request.at_us, request.weight, request.tokens, answer.holder, request.at_us + LEASE_US)
            self._court.admit(*_names(request), call)
            self._open.append((answer, call))

    def end_some(self, wire: Wire, now_us: int) -> list[tuple[object, ...]]:
        """End half of the calls at random. What they cost is often less than their estimate, and given back."""
        ended: list[tuple[object, ...]] = []
        for answer, call in self._open:
            if self._rng.random() < 0.5:
                actual = round(call.tokens * self._rng.choice([0.0, 0.3, 1.0]))
                ended.append(wire.settle(answer, actual, at_us=now_us))
                # Never seen again by a judge of slots. Tokens are given back where they were counted.
                call.until_us, call.tokens = min(call.until_us, now_us), actual
        self._open = []
        return ended


def _names(request: Request) -> tuple[str, str, str, str]:
    return (request.service, request.endpoint, request.loop_type, request.loop)


def test_every_kind_of_limit_has_refused(redis_client: Redis, realm: str) -> None:
    """Else the tests above would judge limits that never bind."""
    refusals = Counter[str]()
    for pattern in PATTERNS:
        wire = Wire(redis_client, f"{realm}-{pattern.__name__}", LIMITS)
        refusals.update(answer.binding for answer in wire.ask(requests(pattern, 3_000, start_us=START_US)) if not answer.allowed)

    scopes = {binding.partition(":")[0].partition(" ")[0] for binding in refusals}
    kinds = {binding.rpartition(" ")[2].partition("/")[0] for binding in refusals}
    assert scopes == {"global", "service", "endpoint", "loop_type", "loop"}
    assert kinds == {"requests", "tokens", "burst", "in_flight"}
