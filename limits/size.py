"""Sizes as people write them: `"64MB"`, `"1.5GiB"`, or a number of bytes."""

from __future__ import annotations

import re
from decimal import Decimal

from .quotation import quote

MAX_BYTES = 10**15
_UNITS = {
    "GiB": 2**30, "MiB": 2**20, "KiB": 2**10,
    "GB": 10**9, "MB": 10**6, "kB": 10**3, "B": 1,
}  # fmt: skip
_SIZE = re.compile(rf"([0-9]{{1,15}}(?:\.[0-9]{{1,9}})?) ?({'|'.join(_UNITS)})")


def parse_size(size: object) -> int:
    """A size in bytes.

    Parameters
    ----------
    size:
        Text such as `"64MB"` (units B, kB, MB, GB, and KiB, MiB, GiB for powers of 1,024), or a whole number of bytes.
        From 1 byte to 10^15.

    Raises
    ------
    ValueError
        The message quotes the value and gives the remedy.

    >>> parse_size("64MB"), parse_size("1KiB")
    (64000000, 1024)
    """
    found = size
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match is None:
            raise ValueError(f"{quote(size)} is not a size; use one such as '64MB' or '1GiB', or a number of bytes")
        exact = Decimal(match[1]) * _UNITS[match[2]]
        found = int(exact) if exact == int(exact) else None
    if type(found) is not int or not 1 <= found <= MAX_BYTES:
        raise ValueError(f"{quote(size)} is not allowed; use a whole number of bytes, or a size such as '64MB'")
    return found


def format_size(size: int) -> str:
    """A size in its largest whole unit.

    >>> format_size(64_000_000), format_size(1_500)
    ('64MB', '1500B')
    """
    suffix, unit = max(((suffix, unit) for suffix, unit in _UNITS.items() if size % unit == 0), key=lambda each: each[1])
    return f"{size // unit}{suffix}" if size else "0B"
