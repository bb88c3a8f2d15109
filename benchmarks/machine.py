"""The machine that the figures come from, and whether it was at rest."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("celery", "kombu", "redis", "hiredis")


def description() -> str:
    """Processor, Python and packages in one line."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return f"{os.cpu_count()} cores {_processor()}, {platform.system()}, Python {platform.python_version()}, {packages}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def load() -> str:
    """What others ask of the machine: the load average, and the processors that are busy while this process sleeps."""
    busy = others_busy()
    measured = "" if busy is None else f", {busy:.1f} processors busy with other work"
    return f"load average {os.getloadavg()[0]:.1f}{measured}"


def others_busy(seconds: float = 0.5) -> float | None:
    """Processors that are busy while this process sleeps; None where the system does not tell."""
    before = _busy_s()
    if before is None:
        return None
    time.sleep(seconds)
    return ((_busy_s() or before) - before) / seconds


def _busy_s() -> float | None:
    try:
        first = Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return None
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, first.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
