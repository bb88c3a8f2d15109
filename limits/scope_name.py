"""The names that tables of `limits.toml` may have."""

from typing import Annotated

from pydantic import AfterValidator

from .scope import TEMPLATE, check_name


def _check_service_name(name: str) -> str:
    _refuse_empty(name)
    check_name("service", name)
    return name


def _check_scope_name(name: str) -> str:
    if TEMPLATE in name and name != TEMPLATE:
        raise ValueError('a name is not a pattern; give one full name, or "*" alone for all that are not named')
    _refuse_empty(name)
    check_name("name", name)
    return name


def _refuse_empty(name: str) -> None:
    if not name:
        raise ValueError("the name is empty; give one")


ServiceName = Annotated[str, AfterValidator(_check_service_name)]
ScopeName = Annotated[str, AfterValidator(_check_scope_name)]
