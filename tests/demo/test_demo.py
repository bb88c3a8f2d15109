"""`turgor demo` as a process: what it prints, how it ends, and that nothing is left of it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PROGRAM = "from turgor.worker.commands import main; main()"
START_S = 60.0
STOP_S = 40.0
LAST_TO_START = "turgor.examples.demo.loops"


@dataclass(frozen=True)
class Demo:
    process: subprocess.Popen[str]
    output: Path
    temporary: Path

    def text(self) -> str:
        return self.output.read_text()

    def wait_until_it_prints(self, pattern: str) -> None:
        def is_printed() -> bool:
            assert self.process.poll() is None, self.text()
            return re.search(pattern, self.text(), re.MULTILINE) is not None

        wait_until(is_printed, description=f"the demo prints {pattern!r}", timeout=START_S)

    def descendants(self) -> dict[int, str]:
        """Process ids and commands of everything that it has started, and of what those have.

        `ps` cuts its lines at COLUMNS, where that is set, unless it is told `-ww`: a long path would hide the command.
        """
        parents: dict[int, int] = {}
        commands: dict[int, str] = {}
        for line in subprocess.run(
            ["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        ).stdout.splitlines():
            pid, parent, command = line.split(maxsplit=2)
            parents[int(pid)], commands[int(pid)] = int(parent), command
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return {pid: commands[pid] for pid in found - {self.process.pid}}

    def end(self) -> int:
        return self.process.wait(timeout=STOP_S)


StartDemo = Callable[..., Demo]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartDemo]:
    """Starts demos with a folder for temporary files of their own; none of them outlives the test."""
    started: list[Demo] = []

    def start_demo(*arguments: str) -> Demo:
        temporary = tmp_path / f"temporary-{len(started)}"
        temporary.mkdir()
        output = tmp_path / f"output-{len(started)}"
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, "demo", *arguments],
                cwd=tmp_path,
                env=os.environ | {"TMPDIR": str(temporary), "COLUMNS": "120"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        started.append(Demo(process, output, temporary))
        return started[-1]

    yield start_demo
    for demo in started:
        for pid in (*demo.descendants(), demo.process.pid) if demo.process.poll() is None else ():
            os.kill(pid, signal.SIGKILL)
        demo.process.wait()


def is_running(pid: int, command: str) -> bool:
    shown = subprocess.run(["ps", "-wwo", "stat=,args=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return command in shown and not shown.startswith("Z")


def assert_nothing_is_left(demo: Demo, descendants: dict[int, str]) -> None:
    left = {pid: command for pid, command in descendants.items() if is_running(pid, command)}
    assert left == {}
    assert list(demo.temporary.iterdir()) == []


def test_a_bounded_run_ends_with_a_report_of_no_violation_and_leaves_nothing(start: StartDemo) -> None:
    demo = start("--for", "11s")
    demo.wait_until_it_prints(r"^ +1 s \|")
    descendants = demo.descendants()

    assert demo.end() == 0, demo.text()

    report = demo.text()
    assert re.search(r"^over the limit +0 ", report, re.MULTILINE), report
    assert re.search(r"^tasks failed +0", report, re.MULTILINE), report
    assert re.search(r"^file_operations +100 requests per 5 s +\d+\.\d% ", report, re.MULTILINE), report
    assert re.search(r"^7 HIGH +\d+ +\d+\.\d\d s", report, re.MULTILINE), report
    assert re.search(r"^planner +1: .*\d$", report, re.MULTILINE), report
    assert 5 <= len(re.findall(r"^ +\d+ s \| ", report, re.MULTILINE)) <= 13, "one line a second"
    assert any(LAST_TO_START in command for command in descendants.values())
    assert_nothing_is_left(demo, descendants)


def test_two_nodes_two_dispatchers_and_a_node_killed_in_the_middle_break_no_limit(start: StartDemo) -> None:
    demo = start("--for", "12s", "--workers", "2", "--dispatchers", "2", "--kill-worker")
    demo.wait_until_it_prints("kill -9")
    descendants = demo.descendants()

    assert demo.end() == 0, demo.text()

    assert re.search(r"^over the limit +0 ", demo.text(), re.MULTILINE), demo.text()
    assert_nothing_is_left(demo, descendants)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_it_with_the_report_and_leaves_nothing(start: StartDemo, signum: signal.Signals) -> None:
    demo = start()
    demo.wait_until_it_prints(r"^ +1 s \|")
    descendants = demo.descendants()

    demo.process.send_signal(signum)

    assert demo.end() == 0, demo.text()
    assert "over the limit" in demo.text()
    assert_nothing_is_left(demo, descendants)


def test_an_interrupt_before_the_first_call_leaves_nothing(start: StartDemo) -> None:
    demo = start()
    wait_until(lambda: any("celery" in command for command in demo.descendants().values()), description="a node starts")
    descendants = demo.descendants()

    demo.process.send_signal(signal.SIGINT)

    assert demo.end() == 1
    assert "Ended before it had begun" in demo.text()
    assert_nothing_is_left(demo, descendants)


def test_a_ctrl_c_that_reaches_the_whole_terminal_ends_it_alike(start: StartDemo) -> None:
    demo = start()
    demo.wait_until_it_prints(r"^ +1 s \|")
    descendants = demo.descendants()
    group = os.getpgid(demo.process.pid)

    for pid in [demo.process.pid, *(pid for pid in descendants if os.getpgid(pid) == group)]:
        os.kill(pid, signal.SIGINT)

    assert demo.end() == 0, demo.text()
    assert_nothing_is_left(demo, descendants)


def test_a_node_that_ends_by_itself_ends_the_demo_with_one_line(start: StartDemo) -> None:
    demo = start()
    demo.wait_until_it_prints(r"^ +1 s \|")
    descendants = demo.descendants()
    (loops,) = [pid for pid, command in descendants.items() if LAST_TO_START in command]

    os.kill(loops, signal.SIGKILL)

    assert demo.end() == 1
    assert demo.text().splitlines()[-1] == "Error: loops has ended (SIGKILL): it wrote nothing"
    assert_nothing_is_left(demo, descendants)


def test_what_cannot_start_is_named_with_the_last_line_of_its_log(start: StartDemo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        demo = start("--port", str(taken.getsockname()[1]))

        assert demo.end() == 1

    last_line = demo.text().splitlines()[-1]
    assert re.fullmatch(r"Error: service has ended \(exit status 2\): .*Address already in use.*", last_line), demo.text()
    assert list(demo.temporary.iterdir()) == []


def test_data_is_kept_where_it_was_asked_for_and_used_by_one_demo_at_a_time(start: StartDemo, tmp_path: Path) -> None:
    data = tmp_path / "kept"
    first = start("--data", str(data))
    first.wait_until_it_prints(r"^ +1 s \|")

    second = start("--data", str(data), "--for", "1s")

    assert second.end() == 1
    assert second.text().splitlines()[-1] == f"Error: --data {data}: another demo runs with it"
    first.process.send_signal(signal.SIGINT)
    assert first.end() == 0, first.text()
    assert (data / "worker-1.log").is_file()
    assert any((data / "valkey" / "appendonlydir").iterdir())

    again = start("--data", str(data), "--for", "1s")

    assert again.end() == 0, again.text()


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("soon", "'soon' is not a duration; use one such as '10s' or '1m30s', or a number of seconds"),
        ("0", "0.0 is not allowed; use a duration from 1ms to 366d"),
        ("-3s", "'-3s' is not a duration; use one such as '10s' or '1m30s', or a number of seconds"),
        ("200ms", "'200ms' is too short; use at least 1s"),
        ("nan", "nan is not allowed; use a duration from 1ms to 366d"),
    ],
)
def test_a_time_that_is_none_is_refused_in_one_line(start: StartDemo, value: str, complaint: str) -> None:
    demo = start(f"--for={value}")

    assert demo.end() == 2
    assert demo.text().splitlines()[-1] == f"Error: Invalid value for '--for': {complaint}"


def test_a_folder_that_the_server_cannot_use_is_refused_in_one_line(start: StartDemo, tmp_path: Path) -> None:
    demo = start("--data", str(tmp_path / "two words"))

    assert demo.end() == 1
    assert demo.text().splitlines()[-1].endswith("give a path without spaces and quotes")
