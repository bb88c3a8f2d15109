"""One client of a crowd: `python crowd.py URL REALM SEED CALLS`.

Makes random calls at one frozen time, so that nothing leaves a window or comes back to a bucket, and prints what it
was admitted for, as JSON: a list of [service, endpoint, loop, weight, tokens].
"""

from __future__ import annotations

import json
import random
import sys

from turgor.limits import HierarchicalLimiter

NOW_US = 1_800_000_000_000_000
ENDPOINTS = {"a": ("x", "y"), "b": ("x", "")}


def main(url: str, realm: str, seed: str, calls: str) -> None:
    limiter, rng, admitted = HierarchicalLimiter(url, realm=realm), random.Random(seed), list[tuple[str, str, str, int, int]]()
    for _ in range(int(calls)):
        service, loop = rng.choice("ab"), rng.choice("pqrst")
        endpoint, weight, tokens = rng.choice(ENDPOINTS[service]), rng.randint(1, 3), rng.randint(0, 40)
        token = limiter.try_acquire(service=service, endpoint=endpoint, loop=loop, weight=weight, tokens=tokens, now_us=NOW_US)
        if token is not None:
            admitted.append((service, endpoint, loop, weight, tokens))
    json.dump(admitted, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
