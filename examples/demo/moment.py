"""A moment is everything that the demo shows of one point in time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from turgor.limits import HierarchicalLimiter, LimitUsage
from turgor.limits.keys import Keys
from turgor.limits.server import connect
from turgor.monitor.usage import usage_of_all
from turgor.scheduler.survey import Survey, survey

from .judge_report import JudgeReport
from .service_client import ServiceClient
from .stopwatch import FAILURE_COUNT_KEY, FAILURES_KEY, WAITS_KEY
from .waits import Waits, waits_by_priority

_JUDGE_REPORT = TypeAdapter(JudgeReport)
_MOST_LANES = 60


@dataclass(frozen=True, slots=True)
class Moment:
    """What was seen.

    Parameters
    ----------
    elapsed_s:
        Since every service had its first call.
    calls_per_s:
        Of each service, between the moment before and this one.
    judged:
        What the called service has counted.
    survey, usage, waits:
        What waits in Turgor, what is left of each limit, how long calls waited, by priority.
    failures:
        Tasks that failed, and what the last one said.
    """

    elapsed_s: float
    calls_per_s: Mapping[str, float]
    judged: JudgeReport
    survey: Survey
    usage: tuple[LimitUsage, ...]
    waits: Mapping[int, Waits]
    failures: int
    last_failure: str

    @property
    def is_clean(self) -> bool:
        """Calls were made, none of them one too many, and none failed."""
        return self.judged.calls > 0 and self.judged.violations == 0 and self.failures == 0


class Observer:
    """Looks at a running demo. `begin` sets its clock to zero and forgets what an earlier demo has noted."""

    def __init__(self, *, server_url: str, service_url: str) -> None:
        self._client, self._keys = connect(server_url), Keys()
        self._limits = HierarchicalLimiter(self._client)
        self._service = ServiceClient(service_url)
        self._began_at = self._looked_at = time.monotonic()
        self._calls: dict[str, int] = {}
        self._client.delete(WAITS_KEY, FAILURES_KEY, FAILURE_COUNT_KEY)

    def begin(self) -> None:
        self._began_at = time.monotonic()

    def every_service_was_called(self) -> bool:
        return all(service.calls for service in self.judge().services.values())

    def judge(self) -> JudgeReport:
        """What the service has counted; utilisation up to now."""
        return _JUDGE_REPORT.validate_json(self._service.get("report?until=now"))

    def look(self) -> Moment:
        now, judged = time.monotonic(), self.judge()
        calls = {name: service.calls for name, service in judged.services.items()}
        gap_s = max(now - self._looked_at, 0.001)
        calls_per_s = {name: (count - self._calls.get(name, 0)) / gap_s for name, count in calls.items()}
        self._looked_at, self._calls = now, calls
        failures: bytes | None = self._client.get(FAILURE_COUNT_KEY)  # type: ignore[assignment]
        last_failure: bytes | None = self._client.lindex(FAILURES_KEY, 0)  # type: ignore[assignment]
        return Moment(
            elapsed_s=now - self._began_at,
            calls_per_s=calls_per_s,
            judged=judged,
            survey=survey(self._client, self._keys, most=_MOST_LANES),
            usage=usage_of_all(self._limits),
            waits=waits_by_priority(self._client),
            failures=int(failures or 0),
            last_failure=(last_failure or b"").decode(errors="replace"),
        )
