"""A coalesce key says which submits ask for the same: one that waits stands for all of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CoalesceKey:
    """What submits must have in common.

    Parameters
    ----------
    digest:
        Of all that, as hexadecimal digits.
    always:
        Whether it counts at any time, or only where a backlog with `overflow = "coalesce"` has no room.
    """

    digest: str
    always: bool

    def __str__(self) -> str:
        return f"{'=' if self.always else '~'}{self.digest}"

    def mark(self, template: bytes) -> bytes:
        """The envelope with its key, which the scripts read and nobody else."""
        return b'{"coalesce":"%b",%b' % (str(self).encode(), template[1:])
