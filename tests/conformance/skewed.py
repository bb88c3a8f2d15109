"""A client whose clocks are wrong: `python skewed.py URL REALM SKEW_S`.

Says in the list `here` that it is there, and hammers the service until a time of the server's clock that it is given in the list
`until_us`. Prints when each of its calls was admitted, by the server's clock, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import cast

SKEW_S = float(sys.argv[3])
wall, steady = time.time, time.monotonic
time.time = lambda: wall() + SKEW_S
time.time_ns = lambda: int((wall() + SKEW_S) * 1e9)
time.monotonic = lambda: steady() + SKEW_S

from redis import Redis  # noqa: E402  after the clocks are set

from turgor.limits import Call, HierarchicalLimiter, RateToken  # noqa: E402

client = Redis.from_url(sys.argv[1])
limiter, admitted_us, now_us = HierarchicalLimiter(client, realm=sys.argv[2]), list[int](), 0
client.rpush("here", SKEW_S)
_, until_us = cast("tuple[bytes, bytes]", client.blpop(["until_us"]))
while now_us < int(until_us):
    one = limiter.try_acquire(service="api")
    many = limiter.acquire_many([Call("api")] * 3)
    tokens = [token for token in (one, *many) if isinstance(token, RateToken)]
    admitted_us += [int(token._reply[5]) for token in tokens]  # pyright: ignore[reportPrivateUsage]
    seconds, microseconds = client.time()
    now_us = seconds * 1_000_000 + microseconds
json.dump(admitted_us, sys.stdout)
