"""A scope word is how a person at a terminal names a scope: `llm_api`, `llm_api/chat`, `planner`.

A program gives full names (`service:llm_api`): there, a word would change its meaning when somebody adds a loop of the
same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InvalidScope
from .scope import GLOBAL, TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .config import LimitsConfig


def scope_of(word: str, config: LimitsConfig) -> str:
    """The full name of the scope that `word` means: a full name itself, or what the limits name so, if it is only one.

    Raises
    ------
    InvalidScope
        The limits name no scope so, or several. A loop that only a template (`loops."*"`) covers has no name there.
    """
    if word == GLOBAL or ":" in word:
        return word
    found = list(_named(word, config))
    if len(found) > 1:
        raise InvalidScope("scope", word, f"say which one: {', '.join(found)}")
    if not found:
        raise InvalidScope("scope", word, f"the limits name no such scope; give its full name, such as loop:{word}")
    return found[0]


def _named(word: str, config: LimitsConfig) -> Iterator[str]:
    service, slash, endpoint = word.partition("/")
    if service in config.services and not slash:
        yield f"service:{word}"
    if service in config.services and endpoint:
        yield f"endpoint:{word}"
    for kind, names in (("loop_type", config.loop_types), ("loop", config.loops)):
        if word in names and word != TEMPLATE:
            yield f"{kind}:{word}"
