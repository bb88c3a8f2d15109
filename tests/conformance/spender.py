"""One of several clients that spend the same budgets: `python spender.py URL REALM SEED`.

Makes random calls at one frozen time, so that nothing leaves a window or comes back to a bucket: one by one and in
batches. Prints what was admitted as JSON: a list of [service, endpoint, loop type, loop, weight, tokens, holder].
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator

from turgor.limits import Call, HierarchicalLimiter, RateToken, TaskScopes

NOW_US = 1_800_000_000_000_000
ROUNDS = 12
ENDPOINTS = {"llm": ("chat", "embed", ""), "git": ("push", "")}
Spent = tuple[str, str, str, str, int, int, str]


def spend(limiter: HierarchicalLimiter, seed: int) -> Iterator[Spent]:
    """What was admitted, with the holder of its slots."""
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        calls = [_call(rng) for _ in range(rng.randint(1, 25))]
        if rng.random() < 0.5:
            answers = limiter.acquire_many(calls, now_us=NOW_US)
        else:
            answers = [_acquire(limiter, call) for call in calls]
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, RateToken):
                service, endpoint, loop_type, loop, weight, tokens, _ = call
                holder = answer._holder  # pyright: ignore[reportPrivateUsage]
                yield service, endpoint, loop_type, loop, weight, tokens, holder


def _call(rng: random.Random) -> Call:
    service = rng.choice(["llm", "llm", "git"])
    loop_type, loop = rng.choice(["planner", "coder", ""]), rng.choice(["a", "b", "c", "vip", ""])
    return Call(service, rng.choice(ENDPOINTS[service]), loop_type, loop, rng.randint(1, 3), rng.choice([0, 10, 40]))


def _acquire(limiter: HierarchicalLimiter, call: Call) -> RateToken | None:
    return limiter.try_acquire(TaskScopes(*call[:4]), weight=call.weight, tokens=call.tokens, now_us=NOW_US)


if __name__ == "__main__":
    url, realm, number = sys.argv[1:]
    json.dump(list(spend(HierarchicalLimiter(url, realm=realm), int(number))), sys.stdout)
