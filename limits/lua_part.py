"""A part keeps to itself what nobody else names.

Lua allows a function 200 locals at a time, and a script with its parts is one function. So what a part binds and no other
text of the script names goes out of sight, and off that number, where the part ends: the part becomes a block, and what
others do name is declared before it.
"""

from __future__ import annotations

import re
from collections import Counter

_WORD = re.compile(r"\w+")
_BINDING = re.compile(r"^local (?:function (\w+)|(\w+(?:, \w+)*)(?: (=)|$))", re.MULTILINE)


def words(text: str) -> Counter[str]:
    """How often the text says each word."""
    return Counter(_WORD.findall(text))


def enclosed(body: str, script: Counter[str]) -> str:
    """The body of a part as a block. `script` are the words of the whole text that it stands in."""
    own, shared = words(body), list[str]()

    def bind(match: re.Match[str]) -> str:
        function, names, assigns = match.groups()
        bound = [function] if function else names.split(", ")
        if not any(script[name] > own[name] for name in bound):
            return match[0]
        shared.extend(bound)
        if function:
            return f"function {function}"
        return f"{names} =" if assigns else ""

    inside = _BINDING.sub(bind, body)
    declared = f"local {', '.join(shared)}\n" if shared else ""
    return f"{declared}do\n{inside}\nend"
