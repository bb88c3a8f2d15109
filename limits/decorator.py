"""A decorator that limits a function: each call waits for its limits, and holds its slots while it runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from .scope import TaskScopes

if TYPE_CHECKING:
    from .asynchronous_token import AsyncRateToken
    from .rate_token import RateToken

P = ParamSpec("P")
R = TypeVar("R")

Context: TypeAlias = TaskScopes | Mapping[str, str] | None


class Decorator:
    """Limits a function.

    Parameters
    ----------
    acquire:
        Takes the call's arguments, and gives its token or raises.
    """

    def __init__(self, acquire: Callable[..., RateToken]) -> None:
        self._acquire = acquire

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, limited. Raises `TypeError` for one that returns before its work is done."""
        _refuse_generator(function)
        if inspect.iscoroutinefunction(function):
            raise TypeError(f"limit: {_name(function)} is asynchronous; use the limiter whose name begins with Async")

        @functools.wraps(function)
        def limited(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._acquire(*args, **kwargs):
                return function(*args, **kwargs)

        return limited


class AsyncDecorator:
    """Limits a coroutine function; see `Decorator`."""

    def __init__(self, acquire: Callable[..., Awaitable[AsyncRateToken]]) -> None:
        self._acquire = acquire

    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        """The function, limited. Raises `TypeError` for one that is not a coroutine function."""
        _refuse_generator(function)
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"limit: {_name(function)} is no coroutine function; use the limiter without Async in its name")

        @functools.wraps(function)
        async def limited(*args: P.args, **kwargs: P.kwargs) -> R:
            async with await self._acquire(*args, **kwargs):
                return await function(*args, **kwargs)

        return limited


def context_of(
    context: Context | Callable[..., Context], names: Mapping[str, str], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Context:
    """Whose call it is, given as one context, as a function of the call's arguments, or name by name.

    Raises
    ------
    TypeError
        Given both ways.
    """
    if context is None:
        return names
    if any(names.values()):
        raise TypeError("context: give either a context or names, not both")
    return context(*args, **kwargs) if callable(context) else context


def _refuse_generator(function: Callable[..., Any]) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"limit: {_name(function)} is a generator, whose work begins after its call; acquire inside of it")


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
