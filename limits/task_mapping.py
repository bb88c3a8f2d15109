"""The task mapping says which service a task calls: by its exact name, else by the most specific glob.

    "proj.tasks.complete" = "llm_api/chat"
    "proj.git.*" = "git_operations"

The longest glob is the most specific one; of two that are equally long, the one with fewer wildcards.
The order in the file does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fnmatch import translate
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from .quotation import closest, quote
from .scope import TEMPLATE, check_name

Endpoints = Mapping[str, Collection[str]]

_CACHE_SIZE = 10_000
_WILDCARDS = re.compile(r"[*?\[]")


class TaskMapping:
    """Finds the service and the endpoint of a task.

    Parameters
    ----------
    targets:
        `"service"` or `"service/endpoint"`, by task name or glob.
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        globs = (pattern for pattern in targets if _WILDCARDS.search(pattern))
        self._globs = [(re.compile(translate(pattern)), split_target(targets[pattern])) for pattern in sorted(globs, key=_rank)]
        self._exact = {name: split_target(target) for name, target in targets.items()}
        self._found: dict[str, tuple[str, str]] = {}

    def find(self, task_name: str) -> tuple[str, str]:
        """Service and endpoint of the task, `""` for what it has not."""
        found = self._exact.get(task_name) or self._found.get(task_name)
        if found is None:
            found = next((target for glob, target in self._globs if glob.match(task_name)), ("", ""))
            # Names may be made up at run time (`send_task`), so what is remembered has a bound.
            if len(self._found) >= _CACHE_SIZE:
                self._found.clear()
            self._found[task_name] = found
        return found


def _rank(pattern: str) -> tuple[int, int, str]:
    return -len(pattern), len(_WILDCARDS.findall(pattern)), pattern


def split_target(target: str) -> tuple[str, str]:
    """`"llm_api/chat"` as service and endpoint; the endpoint is `""` where none is given."""
    service, _, endpoint = target.partition("/")
    return service, endpoint


def _check_pattern(pattern: str) -> str:
    if not pattern:
        raise ValueError("the task name is empty; give a name or a pattern such as 'proj.tasks.*'")
    try:
        pattern.encode()
    except UnicodeEncodeError:
        # A lone surrogate: JSON from elsewhere may hold one, and storing it would change it.
        raise ValueError("this name is not possible; use text that UTF-8 can write") from None
    return pattern


def _check_target(target: str, info: ValidationInfo) -> str:
    endpoints = _known_endpoints(info)
    service, slash, endpoint = target.partition("/")
    if not service:
        raise ValueError(f"{quote(target)} names no service; use 'service' or 'service/endpoint'")
    if slash and endpoint in ("", TEMPLATE):
        raise ValueError(f"{quote(target)} names no endpoint; use {quote(service)} alone, or add the name of an endpoint")
    if endpoints is None:
        return target
    if service not in endpoints:
        raise ValueError(f"service {quote(service)} is not defined; {_remedy(service, endpoints)}")
    if endpoint and endpoint not in endpoints[service]:
        if TEMPLATE not in endpoints[service]:
            known = [f"{service}/{name}" for name in endpoints[service]] or [service]
            raise ValueError(f"endpoint {quote(target)} is not defined; {_remedy(target, known)}")
        check_name("endpoint", endpoint)
    return target


def _remedy(name: str, known: Collection[str]) -> str:
    if meant := closest(name, known):
        return f"did you mean {quote(meant)}?"
    if not known:
        return "no service is"
    return f"use one of {', '.join(quote(each) for each in sorted(known))}"


def _known_endpoints(info: ValidationInfo) -> Endpoints | None:
    """The endpoints of every service; None where the services themselves are wrong and nothing says what they are."""
    if "services" in info.data:
        return {name: table.endpoints.keys() for name, table in info.data["services"].items()}
    return info.context


TaskPattern = Annotated[str, AfterValidator(_check_pattern)]
TaskTarget = Annotated[str, AfterValidator(_check_target)]
