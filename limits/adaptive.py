"""An adaptive share of the limits (AIMD). Pure: state and now in, state out.

Redis decides (`lua/parts/adaptive.lua`); this is what it must decide, and the tests hold it to that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .outcome import Outcome

FORGOTTEN_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class AdaptiveState:
    """What is stored of an adaptive share. The default is the whole limit, which is not stored at all.

    Parameters
    ----------
    factor:
        The share of the configured limits that may be used.
    cut_us:
        When it was last cut; 0 if never.
    seen_us:
        When a call last ended that counted for it.
    """

    factor: float = 1.0
    cut_us: int = 0
    seen_us: int = 0


@dataclass(frozen=True, slots=True)
class AdaptiveShare:
    """Finds how much of its configured limits a service really takes: additive increase, multiplicative decrease.

    With x the factor, and t the time in which calls succeeded since the last one that counted,

        a call succeeds           x <- min(1, x + t / recovery),   t <= reaction
        it is throttled or fails  x <- max(floor, x * decrease),   at most once per reaction, and only for
                                                                   calls that were admitted after the last cut
        a limit of n units        admits as one of  max(1, floor(n x))

    Regimes. The service takes what is configured: x = 1, and nothing is stored. It takes less, the share s: x
    saws between s and s * decrease, so the mean is about s (1 + decrease) / 2; it comes down from x to s in
    log(x / s) / log(1 / decrease) reactions. Its limit rises again: x reaches 1 after at most recovery (1 - x) of
    successes. It is down: x = floor. Idle: nothing changes; after a day without a call x is 1 again.

    A batch of 429s that answers calls already in flight cuts once: they were all admitted before the cut.
    `reaction` bounds the cuts of a service that goes on refusing until its own window has passed.

    Source: D.-M. Chiu, R. Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in
    Computer Networks" (1989): additive increase with multiplicative decrease converges to a fair and efficient
    share. The one reaction per round trip is TCP's (V. Jacobson, 1988). Kinds of outcome: Netflix concurrency-limits.

    Parameters
    ----------
    floor, decrease:
        Above 0; at most 1, and below 1.
    recovery_us, reaction_us:
        Microseconds, at least 1.
    """

    floor: float
    decrease: float
    recovery_us: int
    reaction_us: int

    def current(self, state: AdaptiveState, now_us: int) -> AdaptiveState:
        """The state as time alone has made it: kept, or forgotten."""
        return AdaptiveState() if now_us >= state.seen_us + FORGOTTEN_US else state

    def report(self, state: AdaptiveState, outcome: Outcome, now_us: int, admitted_us: int) -> AdaptiveState:
        """A call that was admitted at `admitted_us` has ended, and this is how."""
        state = self.current(state, now_us)
        if outcome is Outcome.OK:
            return self._gain(state, now_us)
        if outcome in (Outcome.THROTTLED, Outcome.FAILED):
            return self._cut(state, now_us, admitted_us)
        return state

    def _gain(self, state: AdaptiveState, now_us: int) -> AdaptiveState:
        if state.factor >= 1:
            return state
        gained_us = min(self.reaction_us, max(0, now_us - state.seen_us))
        factor = state.factor + gained_us / self.recovery_us
        return AdaptiveState() if factor >= 1 else AdaptiveState(factor, state.cut_us, max(state.seen_us, now_us))

    def _cut(self, state: AdaptiveState, now_us: int, admitted_us: int) -> AdaptiveState:
        if state.cut_us and (admitted_us < state.cut_us or now_us - state.cut_us < self.reaction_us):
            return state
        return AdaptiveState(max(self.floor, state.factor * self.decrease), now_us, now_us)


def scaled(capacity: int, share: float) -> int:
    """What a limit of `capacity` units holds at a share of it: whole units, at least 1, never more than `capacity`."""
    return max(1, min(capacity, math.floor(capacity * share)))
