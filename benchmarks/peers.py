"""Other limiters of PyPI at the same work: one limit, three levels, and a tight limit to see what they admit.

Each is asked for the algorithm that its own documentation calls exact, or for its fastest one. None of them has several
levels, so three levels are three calls, as its users write them; the first refusal ends them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from redis import Redis

Ask = Callable[[], bool]
Budget = Callable[[str, int, str], Ask]
"""A limiter by its name, its limit, and `minute` or `second`."""
PACKAGES = ("limits", "pyrate-limiter", "throttled-py")
LEVELS = ("global", "service", "loop")


@dataclass(frozen=True, slots=True)
class Peer:
    """One algorithm of one library.

    Parameters
    ----------
    name:
        With the library's version.
    budget:
        Makes a limiter, and gives what asks it for one unit.
    """

    name: str
    budget: Budget

    def one(self, limit: int) -> Ask:
        """One limit."""
        return self.budget("one", limit, "minute")

    def three(self, limit: int) -> Ask:
        """Three levels."""
        levels = [self.budget(name, limit, "minute") for name in LEVELS]
        return lambda: all(level() for level in levels)


def missing() -> list[str]:
    """The packages that are not installed."""
    return [package for package in PACKAGES if not _version(package)]


def peers(url: str) -> Iterator[Peer]:
    """The peers that are installed, on a server."""
    for package, make in zip(PACKAGES, (_limits, _pyrate_limiter, _throttled), strict=True):
        if found := _version(package):
            for algorithm, budget in make(url):
                yield Peer(f"{package} {found}, {algorithm}", budget)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _limits(url: str) -> Iterator[tuple[str, Budget]]:
    limits: Any = import_module("limits")
    strategies: Any = import_module("limits.strategies")
    storage = limits.storage.storage_from_string(url)
    for algorithm in ("moving-window", "sliding-window-counter"):
        strategy = strategies.STRATEGIES[algorithm](storage)

        def budget(name: str, limit: int, period: str, strategy: Any = strategy) -> Ask:
            item = limits.parse(f"{limit}/{period}")
            return lambda: strategy.hit(item, name)

        yield algorithm.replace("-", " "), budget


def _pyrate_limiter(url: str) -> Iterator[tuple[str, Budget]]:
    pyrate: Any = import_module("pyrate_limiter")
    client = Redis.from_url(url)
    durations = {"minute": pyrate.Duration.MINUTE, "second": pyrate.Duration.SECOND}

    def sliding_log(name: str, limit: int, period: str) -> Ask:
        rates = [pyrate.Rate(limit, durations[period])]
        limiter = pyrate.Limiter(pyrate.RedisBucket.init(rates, client, f"pyrate:log:{name}:{limit}"))
        return lambda: limiter.try_acquire(name, blocking=False)

    def gcra(name: str, limit: int, period: str) -> Ask:
        store = pyrate.RedisStateStore(client, f"pyrate:gcra:{name}:{limit}")
        limiter = pyrate.Limiter(pyrate.StateBucket([pyrate.Rate(limit, durations[period])], pyrate.GCRA(), store))
        return lambda: limiter.try_acquire(name, blocking=False)

    yield "sliding window log", sliding_log
    yield "GCRA", gcra


def _throttled(url: str) -> Iterator[tuple[str, Budget]]:
    throttled: Any = import_module("throttled")
    store = throttled.RedisStore(server=url)
    quotas = {"minute": throttled.per_min, "second": throttled.per_sec}
    for algorithm in ("gcra", "sliding_window"):

        def budget(name: str, limit: int, period: str, algorithm: str = algorithm) -> Ask:
            limiter = throttled.Throttled(key=name, using=algorithm, quota=quotas[period](limit), store=store)
            return lambda: not limiter.limit().limited

        yield {"gcra": "GCRA", "sliding_window": "sliding window"}[algorithm], budget
