"""Traffic: who calls, when, and at what cost. Each pattern is one in which some limiter was seen to fail."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

SECOND_US = 1_000_000

LIMITS: dict[str, Any] = {
    "global": {"requests_per_second": 40, "max_in_flight": 50, "token_limits": {"per_minute": 150_000}},
    "services": {
        "llm": {
            "requests_per_second": 25,
            "requests_per_minute": 1_200,
            "burst_capacity": 12,
            "max_in_flight": 24,
            "token_limits": {"per_minute": 60_000},
            "endpoints": {
                "chat": {"windows": [{"limit": 15, "per": "700ms"}], "max_in_flight": 20},
                "*": {"windows": [{"limit": 7, "per": "900ms"}], "token_limits": {"per_second": 900}},
            },
        },
        "git": {"requests_per_minute": 700, "windows": [{"limit": 17, "per": "1300ms"}], "burst_capacity": 9},
    },
    "loop_types": {"planner": {"requests_per_second": 20, "burst_capacity": 15}, "*": {"requests_per_minute": 900}},
    "loops": {"*": {"requests_per_second": 6, "requests_per_hour": 4_000, "burst_capacity": 4}, "vip": {"max_in_flight": 9}},
}
"""Every kind of limit, on every kind of scope; every one of them refuses now and then."""


class Request(NamedTuple):
    """One call to be admitted."""

    at_us: int
    service: str
    endpoint: str
    loop_type: str
    loop: str
    weight: int
    tokens: int


Pattern = Callable[[random.Random], Iterator[int]]
"""The times of arrivals in microseconds, for ever, counted from any whole second."""


def steady_hammering(rng: random.Random) -> Iterator[int]:
    at_us = 0
    while True:
        at_us += 9_000
        yield at_us


def idle_then_burst(rng: random.Random) -> Iterator[int]:
    """Silence for more than a period, or a little less, and then everybody at once."""
    at_us = 0
    while True:
        for _ in range(rng.randint(20, 90)):
            yield at_us
            at_us += rng.choice([0, 0, 0, 1, 500])
        at_us += rng.choice([400_000, 699_999, 700_000, SECOND_US - 1, SECOND_US, 2_500_000, 61 * SECOND_US])


def bursts_at_window_edges(rng: random.Random) -> Iterator[int]:
    """Just before and just after each edge of a second, where a counter of fixed windows admits twice the limit."""
    second_us = 0
    while True:
        second_us += SECOND_US
        for offset_us in (-2_000, -1, 0, 1, 2_000):
            for _ in range(rng.randint(1, 15)):
                yield second_us + offset_us


def random_arrivals(rng: random.Random) -> Iterator[int]:
    at_us = 0
    while True:
        at_us += round(rng.expovariate(1 / 11_000))
        yield at_us


def storms(rng: random.Random) -> Iterator[int]:
    """Bursts on top of a steady stream, at moments that have nothing to do with any window."""
    at_us = 0
    while True:
        at_us += rng.randint(1, 37_000)
        for _ in range(40 if rng.random() < 0.02 else 1):
            yield at_us


PATTERNS: list[Pattern] = [steady_hammering, idle_then_burst, bursts_at_window_edges, random_arrivals, storms]


def requests(pattern: Pattern, number: int, *, start_us: int, seed: int = 1) -> Iterator[Request]:
    """So many calls by random callers, of random weights."""
    rng = random.Random(seed)
    times = pattern(rng)
    for _ in range(number):
        service = rng.choice(["llm", "llm", "llm", "git", ""])
        endpoint = rng.choice(["chat", "chat", "embed", "other", ""]) if service == "llm" else ""
        loop_type = rng.choice(["planner", "coder", "critic", ""])
        loop = rng.choice(["vip", "vip", "a", "b", "c", "d", ""])
        weight = rng.choice([1, 1, 1, 1, 2, 3])
        yield Request(start_us + next(times), service, endpoint, loop_type, loop, weight, rng.choice([0, 50, 200, 800]))
