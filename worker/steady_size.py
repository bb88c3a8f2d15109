"""A size that follows what is wanted upwards at once, and downwards when it has been wanted for a while."""

from __future__ import annotations

from collections import deque


class SteadySize:
    """The largest size wanted during the last `patience_s` seconds, without a gap; growth at most doubles it each time.

    Pure: the caller says what time it is. `hold` says that what is wanted is not known for the time being: nothing
    shrinks before it has been known for `patience_s` again.
    """

    LEAST_GROWTH = 2

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._wanted: deque[tuple[float, int]] = deque()
        self._known_since: float | None = None

    def want(self, wanted: int, size: int, now_s: float) -> int:
        """The size that a pool of `size` should have now."""
        if self._known_since is None:
            self._known_since = now_s
        while self._wanted and (self._wanted[-1][1] <= wanted):
            self._wanted.pop()
        self._wanted.append((now_s, wanted))
        while self._wanted[0][0] <= now_s - self.patience_s:
            self._wanted.popleft()
        most = self._wanted[0][1]
        if most > size:
            return min(most, size + max(size, self.LEAST_GROWTH))
        return most if now_s - self._known_since >= self.patience_s else size

    def hold(self) -> None:
        self._wanted.clear()
        self._known_since = None
