"""A scope says whose budget it is.

There are five kinds. A task has at most one scope of each kind, and `TaskScopes.names` lists them
from the widest to the narrowest:

    global                   the whole realm
    service:llm_api          one service
    endpoint:llm_api/chat    one endpoint of it
    loop_type:planner        every loop of one type
    loop:planner-7           one loop (a caller: an agent, a cron, a tenant)

The name `*` stands for a template: `loop:*` gives every loop that is not named limits of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InvalidScope

GLOBAL = "global"
TEMPLATE = "*"
MAX_NAME_LENGTH = 200

# Lone surrogates (\ud800-\udfff) cannot be written as UTF-8, so no key in Redis could hold them.
_SERVICE = re.compile(r"[^\s/:*\x00-\x20\x7f\ud800-\udfff]+")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class TaskScopes:
    """The scopes that one unit of work belongs to.

    Parameters
    ----------
    service, endpoint, loop_type, loop:
        Names, or `""` where the work has none. An endpoint needs its service.

    Raises
    ------
    InvalidScope
        An endpoint without a service, or a name that is too long, has control characters or is `*`.
    """

    service: str = ""
    endpoint: str = ""
    loop_type: str = ""
    loop: str = ""

    def __post_init__(self) -> None:
        if self.endpoint and not self.service:
            raise InvalidScope("endpoint", self.endpoint, "give the service that it belongs to")
        if self.service:
            check_name("service", self.service)
        for kind in ("endpoint", "loop_type", "loop"):
            if name := getattr(self, kind):
                check_name(kind, name)
                if name == TEMPLATE:
                    raise InvalidScope(kind, name, "use another name: '*' stands for all that are not named")

    @property
    def names(self) -> tuple[str, ...]:
        """Scope names, widest first; always begins with `global`."""
        named = (
            self.service and f"service:{self.service}",
            self.endpoint and f"endpoint:{self.service}/{self.endpoint}",
            self.loop_type and f"loop_type:{self.loop_type}",
            self.loop and f"loop:{self.loop}",
        )
        return (GLOBAL, *(name for name in named if name))

    @property
    def called(self) -> str:
        """The scope that a refusal by the called service concerns: the endpoint, or else the service; `""` for neither."""
        if self.endpoint:
            return f"endpoint:{self.service}/{self.endpoint}"
        return f"service:{self.service}" if self.service else ""


def check_name(kind: str, name: str) -> None:
    """Raise `InvalidScope` unless `name` can name a scope of this kind."""
    pattern = _SERVICE if kind == "service" else _PRINTABLE
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidScope(kind, name, f"use at most {MAX_NAME_LENGTH} characters")
    if not pattern.fullmatch(name):
        allowed = "no spaces, '/', ':' or '*'" if kind == "service" else "printable characters only"
        raise InvalidScope(kind, name, f"use {allowed}")


def template_of(scope: str) -> str | None:
    """The template that gives `scope` its limits when it is not named, or None.

    >>> template_of("loop:planner-7")
    'loop:*'
    >>> template_of("endpoint:llm_api/chat")
    'endpoint:llm_api/*'
    """
    kind, _, name = scope.partition(":")
    if kind == "endpoint":
        service = name.partition("/")[0]
        return f"endpoint:{service}/{TEMPLATE}"
    if kind in ("loop", "loop_type"):
        return f"{kind}:{TEMPLATE}"
    return None
