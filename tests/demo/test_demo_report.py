"""The demo's report: its arithmetic by hand, and when it calls a run clean."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from turgor.examples.demo.judge import Call, Judge
from turgor.examples.demo.judge_report import JudgeReport, Violation
from turgor.examples.demo.judged_window import SECOND_NS
from turgor.examples.demo.moment import Moment
from turgor.examples.demo.report import DemoReport, Share, binding, jain_index, percent, shares
from turgor.examples.demo.waits import Waits
from turgor.scheduler.survey import Survey

NOTHING_WAITS = Survey(waiting=0, delayed=0, in_flight=0, ready_lanes=0, gates=(), lanes=(), unclaimed={}, capacity={})


def judged(*calls: Call, windows: list[tuple[int, float, str]] | None = None, every_s: float = 1.0) -> JudgeReport:
    """What a judge says of these calls, made one after the other."""
    judge = Judge({"llm_api": windows or [(100, 1, "requests")]})
    for at, call in enumerate(calls):
        judge.hear(call, round(at * every_s * SECOND_NS))
    return judge.report()


def moment(report: JudgeReport, *, failures: int = 0) -> Moment:
    return Moment(
        elapsed_s=20.0,
        calls_per_s={"llm_api": 1.0},
        judged=report,
        survey=NOTHING_WAITS,
        usage=(),
        waits={7: Waits({100: 1, 300: 1})},
        failures=failures,
        last_failure="complete: 429: one call too many" if failures else "",
    )


def printed(report: DemoReport, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Its lines, with single spaces."""
    Console(width=120).print(report.render())
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("amounts", "index"),
    [
        ([5, 5, 5, 5], 1.0),
        ([1, 0, 0, 0], 0.25),  # one of four has everything
        ([1, 3], 0.8),  # 4² / (2 · 10)
        ([2, 4, 6], 144 / 168),
        ([0, 0], 1.0),  # nobody got anything: nobody got less
        ([], 1.0),
    ],
)
def test_jains_index_by_hand(amounts: list[float], index: float) -> None:
    assert jain_index(amounts) == pytest.approx(index)


@pytest.mark.parametrize(
    ("calls_by_ms", "p50", "p95"),
    [
        ({100: 1}, 0.1, 0.1),
        ({100: 1, 200: 1}, 0.1, 0.2),
        ({10: 94, 500: 1, 900: 5}, 0.01, 0.5),  # the 95th of 100
        ({10: 94, 900: 6}, 0.01, 0.9),
        ({900: 1, 10: 99}, 0.01, 0.01),  # in whatever order they were noted
        ({}, 0.0, 0.0),
    ],
)
def test_a_percentile_is_the_wait_at_its_nearest_rank(calls_by_ms: dict[int, int], p50: float, p95: float) -> None:
    waits = Waits(calls_by_ms)

    assert (waits.percentile_s(50), waits.percentile_s(95)) == (p50, p95)
    assert waits.calls == sum(calls_by_ms.values())


def test_shares_are_of_all_calls_and_grouped_by_the_kind_of_loop() -> None:
    calls = [Call("llm_api", loop=loop) for loop in ("coder-1", "planner-1", "coder-2", "coder-1")]

    assert shares(judged(*calls)) == {
        "coder": [Share("coder-1", 2, 0.5), Share("coder-2", 1, 0.25)],
        "planner": [Share("planner-1", 1, 0.25)],
    }


def test_the_window_that_was_used_most_binds() -> None:
    calls = [Call("llm_api", tokens=40)] * 6
    report = judged(*calls, windows=[(2, 2, "requests"), (1000, 2, "tokens")])

    window = binding(report.services["llm_api"])

    assert window is not None
    assert (window.unit, window.utilisation_whole) == ("requests", 1.0)


def test_before_a_second_window_has_ended_the_fullest_binds_and_no_utilisation_is_claimed() -> None:
    report = judged(Call("llm_api", tokens=900), windows=[(20, 10, "requests"), (1000, 10, "tokens")])

    window = binding(report.services["llm_api"])

    assert window is not None
    assert (window.unit, percent(window.utilisation_whole)) == ("tokens", "-")


def test_a_run_is_clean_if_calls_were_made_and_none_was_one_too_many_and_none_failed() -> None:
    one_call = judged(Call("llm_api"))
    one_too_many = judged(Call("llm_api"), Call("llm_api"), windows=[(1, 5, "requests")])

    assert one_too_many.violations == 1
    assert moment(one_call).is_clean
    assert not moment(judged()).is_clean
    assert not moment(one_too_many).is_clean
    assert not moment(one_call, failures=1).is_clean


def test_what_counts_is_what_the_service_had_counted_when_the_last_caller_had_stopped() -> None:
    bell = moment(judged(Call("llm_api")))
    end = moment(judged(Call("llm_api"), Call("llm_api"), windows=[(1, 5, "requests")]))

    assert not DemoReport(bell, end).is_clean


def test_the_report_says_by_how_much_and_how_early_the_worst_call_came(capsys: pytest.CaptureFixture[str]) -> None:
    calls = [Call("llm_api", loop="coder-1"), Call("llm_api", loop="coder-1")]
    seen = moment(judged(*calls, windows=[(1, 5, "requests")], every_s=4.0), failures=1)

    lines = printed(DemoReport(seen, seen), capsys)

    assert "over the limit 1 as the called service counted them" in lines
    assert "worst: llm_api 1 above 1 requests, 1000 ms early" in lines
    assert "tasks failed 1 complete: 429: one call too many" in lines
    assert "7 HIGH 2 0.10 s 0.30 s" in lines
    assert "coder 1: 100.0% 1.000" in lines


def test_a_call_that_costs_more_than_its_limit_is_not_said_to_be_early(capsys: pytest.CaptureFixture[str]) -> None:
    report = judged(Call("llm_api", tokens=11), windows=[(10, 5, "tokens")])
    assert isinstance(report.worst, Violation)
    seen = moment(replace(report, worst=replace(report.worst, early_by_s=None)))

    assert "worst: llm_api 1 above 10 tokens" in printed(DemoReport(seen, seen), capsys)
