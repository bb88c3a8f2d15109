"""A process of waiters: `python waiter.py URL REALM SERVICE TIMEOUT COUNT`.

Starts COUNT threads, one after the other has its place. Prints a line for each that is admitted: its number and the
server's time in microseconds.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import cast

from redis import Redis

from turgor.limits import HierarchicalLimiter, RateLimited


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(url: str, realm: str, service: str, timeout: str, count: str) -> None:
    limiter, client = HierarchicalLimiter(url, realm=realm), Redis.from_url(url)
    pattern = f"{{turgor:{realm}}}:line:*"

    def waiting() -> int:
        return sum(client.zcard(key) for key in cast("list[bytes]", client.keys(pattern)))

    def wait(number: int) -> None:
        try:
            token = limiter.acquire(service=service, timeout=float(timeout))
        except RateLimited:
            say("refused", number)
            return
        seconds, microseconds = client.time()
        say("admitted", number, seconds * 1_000_000 + microseconds)
        token.ok()

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(int(count))]
    for thread in threads:
        before = waiting()
        thread.start()
        while thread.is_alive() and waiting() <= before:
            time.sleep(0.002)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
