"""Runs the benchmarks and prints their tables, in Markdown, ready for RESULTS.md.

    python benchmarks                     all of them, on an embedded Valkey
    python benchmarks release --full      one of them, in its largest size
    python benchmarks --quick             shows that they run; the figures say nothing

Where TURGOR_BENCH_REDIS_URL names a server, they run there instead: its databases 0 and 1, counted from the
URL's own, are emptied.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from inspect import cleandoc

import autoscale
import delayed
import enqueue
import exactness
import limiter
import memory
import neighbours
import order
import release
import script_calls
import throughput
from bench import Bench, Benchmark, Scale
from figure import table
from machine import description, load
from server import Server, embedded_server

BENCHMARKS: dict[str, Benchmark] = {
    "enqueue": enqueue.measure,
    "release": release.measure,
    "script_calls": script_calls.measure,
    "memory": memory.measure,
    "delayed": delayed.measure,
    "throughput": throughput.measure,
    "exactness": exactness.measure,
    "neighbours": neighbours.measure,
    "order": order.measure,
    "limiter": limiter.measure,
    "autoscale": autoscale.measure,
}
SERVER_VARIABLE = "TURGOR_BENCH_REDIS_URL"


def _end(_signum: int, _frame: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", dest="scale", action="store_const", const=Scale.QUICK, help="tiny sizes: does it run?")
    parser.add_argument("--full", dest="scale", action="store_const", const=Scale.FULL, help="the largest sizes: takes longer")
    parser.set_defaults(scale=Scale.NORMAL)
    given = parser.parse_args()
    if unknown := set(given.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    # A benchmark that is told to end takes its server and its workers along.
    signal.signal(signal.SIGTERM, _end)
    with _server() as server:
        print(f"{description()}, {server.name}; {load()} at the start.")
        for name in given.names or BENCHMARKS:
            _run(name, Bench(server, given.scale))


def _server() -> AbstractContextManager[Server]:
    url = os.environ.get(SERVER_VARIABLE)
    return nullcontext(Server(url)) if url else embedded_server()


def _run(name: str, bench: Bench) -> None:
    measure = BENCHMARKS[name]
    option = {Scale.QUICK: " --quick", Scale.NORMAL: "", Scale.FULL: " --full"}[bench.scale]
    before, started = load(), time.monotonic()
    bench.server.empty()
    figures = table(measure(bench))
    print(f"\n### {name}\n\n{cleandoc(measure.__doc__ or '')}\n\n{figures}\n")
    print(f"`python benchmarks {name}{option}`, {time.monotonic() - started:.0f} s; {before} before it.", flush=True)
    bench.server.empty()


if __name__ == "__main__":
    sys.exit(main())
