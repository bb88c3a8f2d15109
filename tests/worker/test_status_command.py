"""`turgor status` where nobody looks on: one line, and a line for each thing that is worth one."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from crew import AppSettings
from turgor.worker import ServiceUnderPressure
from turgor.worker.commands import turgor as group

LIMITS = {
    "global": {"backlog": {"limit": 1000}},
    "services": {
        "api": {"max_in_flight": 1},
        "other": {"requests_per_minute": 1, "degradation": [{"wait": "1s", "shed_below": "NORMAL"}]},
    },
}


def test_status_says_what_holds_without_a_made_up_time_what_is_relieved_and_what_waits(settings: AppSettings) -> None:
    proj = settings.but(limits=LIMITS).load()

    def shown() -> list[str]:
        return CliRunner().invoke(group, ["status"], obj=proj, catch_exceptions=False).output.splitlines()

    assert len(shown()) == 1, "an empty backlog is not named"
    for number in range(2):
        proj.call.delay(number)
    proj.call.apply_async((1,), service="other")
    with pytest.raises(ServiceUnderPressure) as refused:
        proj.call.apply_async((2,), service="other", priority=0)

    first, relieved, backlog = shown()
    assert first.endswith("closed: service:api when work ends")
    assert relieved == "service:other: 1 shed, 0 degraded"
    assert backlog.startswith("backlog of global: 1 of 1000 tasks")
    assert str(refused.value).endswith("because work like this waits 60.0 s: try again in 60.0 s, or with a higher priority")
