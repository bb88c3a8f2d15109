"""The IETF's `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers, drafts 7 to 11).

    RateLimit-Policy: "burst";q=100;w=60, "daily";q=1000;w=86400;qu="requests"
    RateLimit: "burst";r=50;t=30, "daily";r=900;t=36000

Each service limit takes its quota and its unit from the policy of its name. The partition key is not read: what comes
back belongs to whoever asked. Draft 7 wrote `limit=100, remaining=50, reset=5`.

Both are structured fields (RFC 9651). One mistake makes the whole field void, and unknown parameters of any type are
comments, so the syntax is left to a library of the RFC's author.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from http_sf import parse

from ..limit import Unit
from ..observation import Quota
from .family import HeaderFamily
from .header_tally import HeaderTally
from .reset import seconds_until

Items: TypeAlias = list[tuple[str, dict[str, Any]]]

POLICY, SERVICE_LIMIT = "ratelimit-policy", "ratelimit"

# What is counted in other units (content-bytes, concurrent-requests) is no limit that Turgor keeps. "tokens" is not
# registered, and is what a service of LLMs would write.
_UNITS = {"requests": Unit.REQUESTS, "request": Unit.REQUESTS, "tokens": Unit.TOKENS}


def read_fields(seen: Mapping[str, str], now_s: float, tally: HeaderTally) -> list[Quota]:
    """The quotas of both fields; the parameters are those of `Triple.read`."""
    found: dict[str, Items] = {}
    for field, read in ((POLICY, _read_policies), (SERVICE_LIMIT, _read_limits)):
        if field in seen:
            items = read(seen[field].encode("latin-1", "replace"))
            tally.count_header(HeaderFamily.STRUCTURED, understood=items is not None)
            found[field] = items or []
    policies, limits = dict(found.get(POLICY, ())), found.get(SERVICE_LIMIT, [])
    quotas = [_quota(policies.get(name, {}), limit, now_s) for name, limit in limits]
    named = {name for name, _ in limits}
    quotas += [_quota(policy, {}, now_s) for name, policy in policies.items() if name not in named]
    return [quota for quota in quotas if quota is not None]


def _read_policies(field: bytes) -> Items | None:
    policies = _read_list(field)
    return policies if policies is not None and all(_is_count(policy.get("q")) for _, policy in policies) else None


def _read_limits(field: bytes) -> Items | None:
    limits = _read_list(field)
    limits = _read_dictionary(field) if limits is None else limits
    return limits if limits is not None and all(_is_limit(limit) for _, limit in limits) else None


def _read_list(field: bytes) -> Items | None:
    """The parameters of each item; None where the field is void."""
    try:
        items = cast("list[tuple[object, dict[str, Any]]]", parse(field, tltype="list"))
    except ValueError:
        return None
    # Drafts 1 to 7 had policies without a name: a number and its window, which no service limit refers to.
    return [(str(item), parameters) for item, parameters in items if not isinstance(item, (list, int))] if items else None


def _read_dictionary(field: bytes) -> Items | None:
    try:
        keys = cast("dict[str, tuple[Any, Any]]", parse(field, tltype="dictionary"))
    except ValueError:
        return None
    values = {key: value for key, (value, _) in keys.items()}
    return [("", {"q": values.get("limit"), "r": values.get("remaining"), "t": values.get("reset")})]


def _is_limit(limit: Mapping[str, Any]) -> bool:
    said = [limit[key] for key in ("q", "r", "t") if limit.get(key) is not None]
    return all(_is_count(each) for each in said) and (limit.get("r") is not None or limit.get("q") is not None)


def _is_count(value: object) -> bool:
    # RFC 9651's true is an int to Python.
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _quota(policy: Mapping[str, Any], limit: Mapping[str, Any], now_s: float) -> Quota | None:
    unit = _UNITS.get(str(policy.get("qu", "requests")))
    if unit is None:
        return None
    window: int | None = limit.get("t")
    reset_s = None if window is None else seconds_until(str(window), now_s)
    return Quota(unit, policy.get("q", limit.get("q")), limit.get("r"), reset_s)
