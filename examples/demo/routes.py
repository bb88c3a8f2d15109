"""The routes: which request reaches the judge, and how its verdict looks in HTTP.

    POST /SERVICE/ENDPOINT   {"tokens": 120, "loop": "planner-1", "loop_type": "planner", "priority": 5}
        200  {"ok": true, "tokens": 120}, after the simulated latency
        429  {"ok": false, "error": …, "retry_after_s": …, …}, at once
    GET /report?until=last|now
    GET /health

Every field of the body may be left out, but a service that limits tokens must be told them. The headers describe the
window that binds: `X-RateLimit-Limit`, `X-RateLimit-Remaining`, and `X-RateLimit-Reset`, the seconds from now until its
oldest units leave (three decimals, rounded up). `Retry-After` is in whole seconds, as HTTP wants it; it is missing when
the call costs more than the limit and waiting cannot help. Whatever is not a valid call (400, 404, 405 …) is not judged.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qs

from .http_connection import MalformedRequest, Reply, Request
from .judge import Call, Judge, Verdict
from .judge_report import Violation

MAX_TOKENS = 1_000_000_000
MAX_NAME_LENGTH = 200
_MILLISECOND_NS = 1_000_000
_SECOND_NS = 1_000_000_000


class Routes:
    """Answers requests. `unjudged` counts those that never reached the judge because they were not valid."""

    def __init__(self, judge: Judge, *, latency_s: float) -> None:
        self._judge = judge
        self._latency_s = latency_s
        self.unjudged = 0

    def answer(self, request: Request) -> Reply:
        try:
            return self._route(request)
        except MalformedRequest as problem:
            return self.reject(problem)

    def reject(self, problem: MalformedRequest) -> Reply:
        self.unjudged += 1
        return Reply(problem.status, {"ok": False, "error": problem.message})

    def report(self, *, until_now: bool) -> dict[str, object]:
        """What `GET /report` sends."""
        until_ns = time.monotonic_ns() if until_now else None
        return {"until": "now" if until_now else "last", "unjudged": self.unjudged, **self._judge.report(until_ns).as_dict()}

    def _route(self, request: Request) -> Reply:
        if request.path in ("/health", "/report"):
            _require_method(request, "GET")
            if request.path == "/health":
                return Reply(HTTPStatus.OK, {"ok": True})
            return Reply(HTTPStatus.OK, self.report(until_now=_wants_now(request.query)))
        return self._judge_call(request)

    def _judge_call(self, request: Request) -> Reply:
        _, _, name = request.path.partition("/")
        service, _, endpoint = name.partition("/")
        windows = self._judge.windows_of(service)
        if windows is None or not endpoint or "/" in endpoint or len(endpoint) > MAX_NAME_LENGTH:
            raise MalformedRequest(HTTPStatus.NOT_FOUND, "no such path")
        _require_method(request, "POST")
        fields = _parse_fields(request.body)
        if "tokens" not in fields and any(window.unit == "tokens" for window in windows):
            raise MalformedRequest(HTTPStatus.BAD_REQUEST, f"tokens: {service} limits them, so say how many")
        verdict = self._judge.hear(_call(service, endpoint, fields), request.arrived_ns)
        if verdict.violation:
            return Reply(HTTPStatus.TOO_MANY_REQUESTS, _refusal_content(verdict.violation), _rate_limit_headers(verdict))
        content = {"ok": True, "tokens": fields.get("tokens", 0)}
        return Reply(HTTPStatus.OK, content, _rate_limit_headers(verdict), self._latency_s)


def _require_method(request: Request, method: str) -> None:
    if request.method != method:
        raise MalformedRequest(HTTPStatus.METHOD_NOT_ALLOWED, f"use {method}")


def _wants_now(query: str) -> bool:
    until = parse_qs(query).get("until", ["last"])[-1]
    if until not in ("last", "now"):
        raise MalformedRequest(HTTPStatus.BAD_REQUEST, "until: use last or now")
    return until == "now"


def _parse_fields(body: bytes) -> Mapping[str, object]:
    try:
        # Deep nesting ends in a RecursionError; an integer of 5,000 digits in a plain ValueError.
        fields: object = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise MalformedRequest(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None
    if not isinstance(fields, dict):
        raise MalformedRequest(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
    return cast("Mapping[str, object]", fields)


def _call(service: str, endpoint: str, fields: Mapping[str, object]) -> Call:
    return Call(
        service=service,
        endpoint=endpoint,
        tokens=_integer(fields, "tokens", MAX_TOKENS) or 0,
        loop=_name(fields, "loop"),
        loop_type=_name(fields, "loop_type"),
        priority=_integer(fields, "priority", 9),
    )


def _integer(fields: Mapping[str, object], field: str, maximum: int) -> int | None:
    if field not in fields:
        return None
    value = fields[field]
    # JSON's true is an int to Python.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
        raise MalformedRequest(HTTPStatus.BAD_REQUEST, f"{field}: use an integer from 0 to {maximum}")
    return value


def _name(fields: Mapping[str, object], field: str) -> str:
    value = fields.get(field, "")
    if not isinstance(value, str) or len(value) > MAX_NAME_LENGTH:
        raise MalformedRequest(HTTPStatus.BAD_REQUEST, f"{field}: use a string of at most {MAX_NAME_LENGTH} characters")
    return value


def _refusal_content(violation: Violation) -> dict[str, object]:
    rule = f"{violation.limit} {violation.unit} per {violation.seconds:g} s"
    return {
        "ok": False,
        "error": f"{violation.service} allows {rule}: {violation.in_window} in the window, {violation.units} more asked for",
        "limit": violation.limit,
        "seconds": violation.seconds,
        "unit": violation.unit,
        "in_window": violation.in_window,
        "excess": violation.excess,
        "retry_after_s": violation.early_by_s,
    }


def _rate_limit_headers(verdict: Verdict) -> dict[str, str]:
    if verdict.window is None:
        return {}
    headers = {
        "X-RateLimit-Limit": str(verdict.window.limit),
        "X-RateLimit-Remaining": str(verdict.remaining),
        "X-RateLimit-Reset": f"{_ceil(verdict.reset_after_ns, _MILLISECOND_NS) / 1000:.3f}",
    }
    if not verdict.accepted and verdict.retry_after_ns is not None:
        headers["Retry-After"] = str(_ceil(verdict.retry_after_ns, _SECOND_NS))
    return headers


def _ceil(amount: int, unit: int) -> int:
    return -(-amount // unit)
