"""Many calls of one script in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from ..limits.lua import Client, Script


def run_many(client: Client, script: Script, calls: Sequence[Sequence[str | bytes | float]]) -> list[Any]:
    """Run a script whose one key is the realm's prefix, once for each list of values, in their order.

    Not one transaction: others may come in between. A server that forgot the script is given it, and the calls that it
    had refused are made again; they have done nothing before. Any other error is raised once all calls are made.
    """
    if not calls:
        return []
    pipe = client.pipeline(transaction=False)
    for values in calls:
        pipe.execute_command("EVALSHA", script.sha, 1, *values)
    replies: list[Any] = pipe.execute(raise_on_error=False)
    refused = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if refused:
        client.script_load(script.source)
        for at, reply in zip(refused, run_many(client, script, [calls[at] for at in refused]), strict=True):
            replies[at] = reply
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
