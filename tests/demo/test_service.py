"""The demo's judge: its tables by hand, its count against brute force, and its service on a real socket."""

from __future__ import annotations

import math
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import free_port, wait_until
from turgor.examples.demo.http_connection import arrival_ns, stamp_arrivals
from turgor.examples.demo.judge import VIOLATIONS_KEPT, Call, Judge
from turgor.examples.demo.judged_window import SECOND_NS, JudgedWindow, Window
from turgor.examples.demo.service import Service

SO_TIMESTAMPNS = 35
SERVICE_COMMAND = [sys.executable, "-m", "turgor.examples.demo.service"]
PUSH = Call("git_operations", "push")


@pytest.mark.parametrize(
    ("arrivals", "accepted"),
    [
        ([0.0, 0.5, 0.999_999_999], [True, True, False]),  # a nanosecond too early
        ([0.0, 0.5, 1.0], [True, True, True]),  # exactly one window old no longer counts
        ([0.0, 0.0, 1.0, 1.0, 1.0], [True, True, True, True, False]),
        ([0.0, 0.9, 0.95, 1.0, 1.8, 1.9], [True, True, False, True, False, True]),  # a refused call takes no room
        ([5.0, 4.0, 5.5, 6.0], [True, True, False, True]),  # read out of order: 4.0 counts as 5.0
    ],
)
def test_a_window_of_two_a_second_accepts_by_hand(arrivals: list[float], accepted: list[bool]) -> None:
    judge = Judge({"git_operations": [(2, 1.0, "requests")]})
    assert [judge.hear(PUSH, round(at * SECOND_NS)).accepted for at in arrivals] == accepted


def test_tokens_are_counted_beside_requests_and_a_refused_call_is_charged_to_neither() -> None:
    judge = Judge({"llm_api": [(3, 10, "requests"), (100, 10, "tokens")]})
    verdicts = [judge.hear(Call("llm_api", tokens=tokens), at * SECOND_NS) for at, tokens in enumerate([60, 50, 40, 0, 0])]
    assert [verdict.accepted for verdict in verdicts] == [True, False, True, True, False]
    requests, tokens = judge.report().services["llm_api"].windows
    assert (requests.arrivals, requests.accepted, requests.refused, requests.peak) == (5, 3, 1, 5)
    assert (tokens.arrivals, tokens.accepted, tokens.refused) == (5, 3, 1)
    assert (tokens.units_arrived, tokens.units_accepted, tokens.peak, tokens.peak_ratio) == (150, 100, 150, 1.5)


def test_a_refusal_says_which_window_by_how_much_and_how_early() -> None:
    judge = Judge({"llm_api": [(2, 1, "requests"), (100, 60, "tokens")]})
    for at, tokens in [(10, 30), (10, 60)]:
        judge.hear(Call("llm_api", tokens=tokens), at * SECOND_NS)
    verdict = judge.hear(Call("llm_api", "chat", 20, "planner-1", "planner", 7), round(10.25 * SECOND_NS))
    assert (violation := verdict.violation) is not None
    # Both refuse: requests until 11, tokens until the 30 of second 10 leave at 70.
    assert (violation.unit, violation.limit, violation.seconds) == ("tokens", 100, 60)
    assert (violation.in_window, violation.units, violation.excess, violation.early_by_s) == (90, 20, 10, 59.75)
    assert (violation.at_s, violation.loop, violation.priority) == (0.25, "planner-1", 7)
    assert (verdict.remaining, verdict.retry_after_ns, verdict.reset_after_ns) == (10, 59_750_000_000, 59_750_000_000)
    assert [window.refused for window in judge.report().services["llm_api"].windows] == [1, 1]
    # A call that is read too late to be judged in its turn counts as the last one heard.
    assert judge.hear(Call("llm_api", tokens=20), 9 * SECOND_NS).retry_after_ns == 59_750_000_000
    assert judge.report().violations == 2


def test_the_last_violations_are_kept_and_the_worst_of_all() -> None:
    judge = Judge({"git_operations": [(1, 1000, "requests")], "llm_api": [(10, 1, "tokens")]})
    judge.hear(Call("llm_api", tokens=40), 0)
    for at in range(VIOLATIONS_KEPT + 6):
        judge.hear(PUSH, at * SECOND_NS)
    report = judge.report()
    assert report.worst is not None
    assert (report.worst.service, report.worst.excess) == ("llm_api", 30)
    assert report.violations == VIOLATIONS_KEPT + 6
    assert [violation.at_s for violation in report.last_violations] == list(range(6, VIOLATIONS_KEPT + 6))


def test_utilisation_leaves_the_first_window_out() -> None:
    window = JudgedWindow(Window(10, 1))
    for at_ns, units in [(0, 10), (1_000_000_000, 4), (1_000_000_001, 6), (2_000_000_000, 3), (2_500_000_000, 5)]:
        window.arrive(units, at_ns)
        window.accept(units, at_ns)
    # first = 0: (1 s, 2 s] holds 6 + 3 and (2 s, 2.5 s] holds 5.
    assert window.report().utilisation == pytest.approx(14 / 15)
    assert window.report().utilisation_whole == pytest.approx(0.9)
    assert window.report(3 * SECOND_NS).utilisation == window.report(3 * SECOND_NS).utilisation_whole == pytest.approx(0.7)
    assert window.report(4_500_000_000).utilisation == pytest.approx(14 / 35)
    assert window.report(4_500_000_000).utilisation_whole == pytest.approx(14 / 30)


def test_utilisation_is_unknown_until_the_first_window_is_over() -> None:
    window = JudgedWindow(Window(10, 1))
    assert (window.report(9 * SECOND_NS).utilisation, window.report(9 * SECOND_NS).utilisation_whole) == (None, None)
    window.arrive(1, 3 * SECOND_NS)
    assert (window.report(4 * SECOND_NS).utilisation, window.report(4 * SECOND_NS).utilisation_whole) == (None, None)
    assert (window.report(5 * SECOND_NS).utilisation, window.report(5 * SECOND_NS).utilisation_whole) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("row", "named"), [((0, 1, "tokens"), "limit 0"), ((1, 0, "tokens"), "seconds 0"), ((1, 1, "calls"), "unit 'calls'")]
)
def test_a_window_that_is_not_valid_is_named(row: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Judge({"llm_api": [row]})


class Heard(NamedTuple):
    at_ns: int
    units: tuple[int, ...]
    accepted: bool


units = st.sampled_from(["requests", "tokens"])
gaps_ns = st.sampled_from([0, 1, 333, 500, 999, 1000, 1001, 2000, 7000])


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4), units), min_size=1, max_size=3),
    st.lists(st.tuples(gaps_ns, st.integers(0, 7)), min_size=1, max_size=40),
    st.integers(0, 5000),
)
def test_the_judge_counts_like_brute_force(rules: list[tuple[int, int, str]], calls: list[tuple[int, int]], rest_ns: int) -> None:
    judge = Judge({"llm_api": [(limit, period_us * 1e-6, unit) for limit, period_us, unit in rules]})
    heard: list[Heard] = []

    def units_between(rule: int, after_ns: int, until_ns: int, *, all_calls: bool = False) -> int:
        return sum(call.units[rule] for call in heard if after_ns < call.at_ns <= until_ns and (call.accepted or all_calls))

    now_ns = 0
    for gap_ns, tokens in calls:
        now_ns += gap_ns
        cost = tuple(tokens if unit == "tokens" else 1 for _, _, unit in rules)
        fits = all(units_between(i, now_ns - 1000 * us, now_ns) + cost[i] <= limit for i, (limit, us, _) in enumerate(rules))
        assert judge.hear(Call("llm_api", tokens=tokens), now_ns).accepted is fits
        heard.append(Heard(now_ns, cost, fits))
    report = judge.report(now_ns + rest_ns).services["llm_api"]
    assert report.accepted == sum(call.accepted for call in heard)
    assert (report.violations == 0) is all(window.peak_ratio <= 1 for window in report.windows)
    for i, (window, (limit, us, _)) in enumerate(zip(report.windows, rules, strict=True)):
        period_ns, end_ns, steady_ns = 1000 * us, now_ns + rest_ns, heard[0].at_ns + 1000 * us
        assert window.peak == max(units_between(i, call.at_ns - period_ns, call.at_ns, all_calls=True) for call in heard)
        whole_ns = (end_ns - steady_ns) // period_ns * period_ns
        for utilisation, elapsed_ns in [(window.utilisation, end_ns - steady_ns), (window.utilisation_whole, whole_ns)]:
            used = units_between(i, steady_ns, steady_ns + elapsed_ns)
            assert utilisation == (pytest.approx(used * period_ns / (limit * elapsed_ns)) if elapsed_ns > 0 else None)
        assert (window.utilisation_whole or 0) <= 1


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    windows = {"llm_api": [(2, 3600, "requests"), (1000, 3600, "tokens")], "file_operations": []}
    with Service(windows=windows, latency_s=0) as service, httpx.Client(base_url=service.url) as http:
        yield http


def test_an_accepted_call_is_answered_with_what_is_left(client: httpx.Client) -> None:
    reply = client.post("/llm_api/chat", json={"tokens": 900, "loop": "planner-1", "loop_type": "planner", "priority": 5})
    assert (reply.status_code, reply.json()) == (200, {"ok": True, "tokens": 900})
    assert (reply.headers["X-RateLimit-Limit"], reply.headers["X-RateLimit-Remaining"]) == ("1000", "100")
    assert float(reply.headers["X-RateLimit-Reset"]) == 3600
    assert "Retry-After" not in reply.headers


def test_a_violation_is_answered_with_429_and_the_time_to_wait(client: httpx.Client) -> None:
    for _ in range(2):
        assert client.post("/llm_api/chat", json={"tokens": 1}).status_code == 200
    reply = client.post("/llm_api/chat", json={"tokens": 1})
    assert reply.status_code == 429
    assert (reply.headers["X-RateLimit-Limit"], reply.headers["X-RateLimit-Remaining"]) == ("2", "0")
    assert 3500 < reply.json()["retry_after_s"] < 3600
    assert int(reply.headers["Retry-After"]) == math.ceil(reply.json()["retry_after_s"])
    assert float(reply.headers["X-RateLimit-Reset"]) == pytest.approx(reply.json()["retry_after_s"], abs=0.001)
    assert reply.json().items() >= {"ok": False, "unit": "requests", "limit": 2, "in_window": 2, "excess": 1}.items()


def test_a_call_that_can_never_pass_is_not_told_to_come_back(client: httpx.Client) -> None:
    reply = client.post("/llm_api/chat", json={"tokens": 1001})
    assert (reply.status_code, "Retry-After" in reply.headers, reply.json()["retry_after_s"]) == (429, False, None)


def test_the_report_tells_who_called(client: httpx.Client) -> None:
    for loop in ("a-1", "a-1", "a-2"):
        client.post("/llm_api/chat", json={"tokens": 10, "loop": loop, "loop_type": "a", "priority": 7})
    client.post("/file_operations/write")
    report = client.get("/report?until=now").json()
    assert (report["until"], report["calls"], report["violations"], report["unjudged"]) == ("now", 4, 1, 0)
    assert (report["worst"]["loop"], len(report["last_violations"])) == ("a-2", 1)
    llm_api = report["services"]["llm_api"]
    assert (llm_api["by_loop"], llm_api["by_loop_type"], llm_api["by_priority"]) == ({"a-1": 2, "a-2": 1}, {"a": 3}, {"7": 3})
    assert [window["refused"] for window in llm_api["windows"]] == [1, 0]
    assert report["services"]["file_operations"]["by_endpoint"] == {"write": 1}
    assert client.get("/report").json()["until"] == "last"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [("GET", path, b"", 404) for path in ("/", "/nothing", "/llm_api", "/llm_api/", "/llm_api/chat/more", "/unknown/push")]
    + [("GET", "/llm_api/chat", b"", 405), ("POST", "/report", b"", 405), ("GET", "/report?until=then", b"", 400)]
    + [("POST", "/llm_api/chat", body, 400) for body in (b"{", b"\xff", b"[" * 9999, b"[1]", b"1" * 5000, b"", b'{"loop": "a"}')]
    + [("POST", "/llm_api/chat", b'{"tokens": %s}' % tokens, 400) for tokens in (b"-1", b"true", b"1.5", b'"1"', b"null", b"NaN")]
    + [("POST", "/file_operations/write", b'{"loop": %s}' % loop, 400) for loop in (b"7", b'"%s"' % (b"x" * 201))]
    + [("POST", "/file_operations/write", b'{"priority": 10}', 400)],
)
def test_what_is_not_a_valid_call_is_refused_in_json_and_not_judged(
    client: httpx.Client, method: str, path: str, body: bytes, status: int
) -> None:
    reply = client.request(method, path, content=body)
    assert (reply.status_code, reply.json()["ok"]) == (status, False)
    report = client.get("/report").json()
    assert (report["calls"], report["unjudged"]) == (0, 1)


def exchange(url: str, *chunks: bytes) -> bytes:
    """Everything the service answers to these bytes until it hangs up."""
    with socket.create_connection((httpx.URL(url).host, httpx.URL(url).port or 0), timeout=10) as connection:
        for chunk in chunks:
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /health HTTP/2\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /health HTTP/1.1\r\nno colon\r\n\r\n", b"HTTP/1.1 400 "),
        (b"POST /llm_api/chat HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 400 "),
        (b"POST /llm_api/chat HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"HTTP/1.1 413 "),
        (b"POST /llm_api/chat HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 411 "),
        (b"x" * 17000, b"HTTP/1.1 431 "),
        (b"GET /hea", b""),
        (b"POST /llm_api/chat HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", b""),
        (b"GET /health HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 "),
        (b"HEAD /health HTTP/1.1\r\n\r\nGET /health HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 "),
    ],
)
def test_bytes_that_are_not_a_whole_request_never_harm(client: httpx.Client, sent: bytes, answer: bytes) -> None:
    received = exchange(str(client.base_url), sent)
    assert (received[:13], received.count(b"Connection: ")) == (answer, 1 if answer else 0)
    assert client.get("/health").json() == {"ok": True}


def test_one_connection_carries_many_calls_whole_or_in_pieces(client: httpx.Client) -> None:
    request = b'POST /file_operations/write HTTP/1.1\r\nContent-Length: 13\r\n\r\n{"tokens": 3}'
    answer = exchange(str(client.base_url), request + request, request[:9], request[9:70], request[70:])
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == answer.count(b'{"ok": true, "tokens": 3}') == 3


def test_a_call_in_its_latency_holds_up_nobody_and_does_not_keep_the_service_from_stopping() -> None:
    service = Service(latency_s=3600)
    service.stop()
    service.start()
    service.start()
    with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0), timeout=10) as waiting:
        waiting.sendall(b"POST /git_operations/push HTTP/1.1\r\n\r\n")
        wait_until(lambda: service.report()["calls"], description="the call is judged")
        assert httpx.get(f"{service.url}/health").status_code == 200
        service.stop()
        service.stop()
        assert waiting.recv(1) == b""
    assert service.report()["calls"] == 1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/health")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps what arrives")
def test_a_request_arrives_when_the_kernel_got_it_not_when_it_was_read() -> None:
    stamp = struct.pack("@ll", *divmod(time.time_ns() - 5 * SECOND_NS, SECOND_NS))
    assert time.monotonic_ns() - arrival_ns([(socket.SOL_SOCKET, SO_TIMESTAMPNS, stamp)]) == pytest.approx(5 * SECOND_NS, rel=0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stamp_arrivals(listener)
        with socket.create_connection(listener.getsockname()) as caller, listener.accept()[0] as called:
            # The kernel begins to stamp a little after the first socket of the machine asks for it.
            def is_stamped() -> bool:
                caller.sendall(b"x")
                return [kind for _, kind, _ in called.recvmsg(1, 64)[1]] == [SO_TIMESTAMPNS]

            wait_until(is_stamped, description="what arrives is stamped")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_process_prints_its_url_and_ends_cleanly_on_a_signal(stop: signal.Signals) -> None:
    command = [*SERVICE_COMMAND, "--port", str(free_port()), "--windows", '{"llm_api": [[1, 60, "requests"]]}']
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            assert [httpx.post(f"{url}/llm_api/chat", json={}).status_code for _ in range(2)] == [200, 429]
        finally:
            process.send_signal(stop)
        assert (process.communicate(timeout=20), process.returncode) == (("", ""), 0)


@pytest.mark.parametrize("wrong", [["--windows", "[]"], ["--windows", '{"a": 1}'], ["--port", "99999"], ["--latency-ms", "-1"]])
def test_wrong_options_are_refused_in_one_line(wrong: list[str]) -> None:
    ended = subprocess.run([*SERVICE_COMMAND, *wrong], capture_output=True, text=True, check=False)
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
