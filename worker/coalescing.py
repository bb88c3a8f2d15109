"""Coalescing: a submit that asks for what waits already stores nothing, and the task that waits stands for it.

Only new work that nothing follows is coalesced: the callbacks of a call, the next step of its chain and the chord or group that
it is part of are its own, and wait for its own end.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

from celery import states
from celery.utils.log import get_logger
from kombu.utils.json import dumps

from ..limits.backlog_table import Overflow
from ..limits.scope import TEMPLATE
from ..scheduler.coalesce_key import CoalesceKey
from .continuation import goes_on, repeats
from .errors import Coalesced
from .stored_request import request_of

if TYPE_CHECKING:
    from celery import Celery

    from ..limits.config import LimitsConfig
    from ..limits.scope import TaskScopes
    from .caller import Call

_FOLLOWS = ("callbacks", "errbacks", "chain", "chord")
logger = get_logger(__name__)


class CoalesceKeys:
    """Gives calls their keys.

    Parameters
    ----------
    config:
        The limits.
    """

    def __init__(self, config: LimitsConfig) -> None:
        self.config = config
        self._named = config.backlogs()
        self._scopes = {scope for scope, table in self._named.items() if table.overflow is Overflow.COALESCE}

    def of_call(self, name: str, call: Call, message: Any) -> CoalesceKey | None:
        """The key of a call; None if it is not to be coalesced.

        Raises
        ------
        ValueError
            The call is to be coalesced by its arguments, and JSON cannot hold them.
        """
        if call.coalesce is None and not (self._scopes and self._overflows(call.scopes)):
            return None
        if call.coalesce is False or _is_followed(message) or repeats(message.headers) or goes_on():
            return None
        args, kwargs, _ = message.body
        key = call.coalesce if isinstance(call.coalesce, str) else [args, kwargs]
        try:
            text = dumps([name, *call.scopes.names, key], sort_keys=True)
        except TypeError as error:
            if call.coalesce is None:
                return None
            raise ValueError(f"coalesce=True: {name}: {error}; give a key, as text") from error
        return CoalesceKey(blake2b(text.encode(), digest_size=16).hexdigest(), always=call.coalesce is not None)

    def _overflows(self, scopes: TaskScopes) -> bool:
        """Whether the backlog of one of the scopes coalesces what it has no room for."""
        return any(self._stated_by(scope) in self._scopes for scope in scopes.names)

    def _stated_by(self, scope: str) -> str:
        kind, _, name = scope.partition(":")
        if scope in self._named or not name:
            return scope
        service = name.partition("/")[0] + "/" if kind == "endpoint" else ""
        return f"{kind}:{service}{TEMPLATE}"


def _is_followed(message: Any) -> bool:
    embedded: Mapping[str, Any] = message.body[2]
    return any(embedded.get(each) for each in _FOLLOWS) or bool(message.headers.get("group"))


def tell_coalesced(app: Celery, template: bytes, into: str) -> None:
    """Record, for whoever waits for the call's own result, which task stands for it."""
    request = cast("Any", request_of(app, template))
    if request.ignore_result:
        return
    task: Any = app.tasks.get(request.task)
    backend = app.backend if task is None else task.backend
    try:
        backend.store_result(request.id, Coalesced(request.task, into), states.REVOKED, request=request)
    except Exception:  # what the call asks for is accepted, and that is what counts
        logger.exception("Task %s is coalesced into %s, and its result does not say so", request.id, into)
