"""take_turn.lua and leave_line.lua: the line before, the call, the reply, the line after, and who was woken.

Two requests a minute. A turn lapses 2 s after its holder has to have looked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import pytest
from redis import Redis

from limit_calls import MINUTE_US, START_US, Ask, Calls, in_flight, keys_of, server_time_us, ttl_ms, window
from turgor.limits import Limit, Unit
from turgor.limits.account import Account
from turgor.limits.limit import SECOND_US
from turgor.limits.line import LEAVE_LINE, TAKE_TURN
from turgor.limits.sliding_window import Counted, WindowState

WINDOW, SLOTS, NAME = window(2), in_flight(1), "scope"
ACCOUNT = Account([(NAME, WINDOW)])
FULL = WindowState((Counted(START_US - 20 * SECOND_US, 2),))
ROOM = WindowState((Counted(START_US - 20 * SECOND_US, 1),))
GRACE_S, LOOK_S, PATIENCE_S = 2.0, 0.5, 0.05
Turn = tuple[str, float] | None
"""Whose it is, and when it lapses, in seconds from the start."""


class Ears:
    """Listens on the channels of waiters, as they do."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._pubsub, self._prefix = client.pubsub(), prefix

    def listen(self, *waiters: str) -> None:
        for waiter in waiters:
            self._pubsub.subscribe(f"{self._prefix}:wake:{waiter}")
            assert self._pubsub.get_message(timeout=5)

    def heard(self) -> list[str]:
        found: list[str] = []
        while message := cast("dict[str, Any] | None", self._pubsub.get_message(timeout=0.01)):
            found.append(f"{message['channel'].decode().rpartition(':')[2]} {message['data'].decode()}")
        return found

    def close(self) -> None:
        self._pubsub.close()


@pytest.fixture
def ears(calls: Calls) -> Iterator[Ears]:
    ears = Ears(calls.client, calls.keys.prefix)
    yield ears
    ears.close()


class Case(NamedTuple):
    rule: str
    before: str
    turn: Turn
    listening: str
    state: WindowState
    waiter: str
    ticket: str
    stays: bool
    allowed: int
    ahead: int
    look_after_s: float
    after: str
    turn_after: Turn
    heard: list[str]


CASES = [
    Case("the first to wait has the turn", "", None, "a", FULL, "a", "", True, 0, 0, 40, "a", ("a", 42), []),
    Case("the first to wait may be admitted", "", None, "a", ROOM, "a", "", True, 1, 0, 0, "", None, []),
    Case("who comes later stands behind", "a", ("a", 42), "ab", FULL, "b", "", True, 0, 1, 40, "ab", ("a", 42), []),
    Case("who stands behind takes nothing", "a", ("a", 42), "ab", ROOM, "b", "", True, -1, 1, PATIENCE_S, "ab", ("a", 42), []),
    Case("who is behind may ask again", "ab", ("a", 42), "ab", FULL, "b", "2", True, 0, 1, 40, "ab", ("a", 42), []),
    Case("a repeated call does not lose the place", "ab", ("b", 42), "ab", FULL, "a", "", True, 0, 0, 40, "ab", ("a", 42), []),
    Case("the head is admitted and wakes the next", "abc", ("a", 2), "abc", ROOM, "a", "1", True, 1, 0, 0, "bc", ("b", 2), ["b turn"]),
    Case("the head is refused and sleeps", "ab", ("a", 2), "ab", FULL, "a", "1", True, 0, 0, 40, "ab", ("a", 42), []),
    Case("the dead are skipped", "abcd", ("a", 2), "ad", ROOM, "a", "1", True, 1, 0, 0, "d", ("d", 2), ["d turn"]),
    Case("nobody is left", "abc", ("a", 2), "a", ROOM, "a", "1", True, 1, 0, 0, "", None, []),
    Case("a dead head gives way to who asks", "ab", ("a", 42), "b", ROOM, "b", "2", True, 1, 0, 0, "", None, []),
    Case("a dead head gives way to the next", "abc", ("a", 42), "bc", FULL, "c", "3", True, 0, 1, 40, "bc", ("b", 2), ["b turn"]),
    Case("a turn that lapsed is lost", "ab", ("a", 0), "ab", ROOM, "b", "2", True, 1, 0, 0, "", None, []),
    Case("a turn that has not lapsed is kept", "ab", ("a", 0.001), "ab", ROOM, "b", "2", True, -1, 1, PATIENCE_S, "ab", ("a", 0.001), []),
    Case("who was taken for dead stands where it stood", "bc", ("b", 42), "abc", FULL, "a", "0", True, 0, 0, 40, "abc", ("a", 42), []),
    Case("who gives up lets the next look", "ab", ("a", 2), "ab", FULL, "a", "1", False, 0, 0, 0, "b", ("b", 2), ["b turn"]),
    Case("who gives up behind leaves the turn", "abc", ("a", 42), "abc", FULL, "b", "2", False, 0, 0, 0, "ac", ("a", 42), []),
    Case("who passes by does not overtake", "a", ("a", 42), "a", ROOM, "", "", False, -1, 0, 0, "a", ("a", 42), []),
    Case("who passes by is told of the limit", "a", ("a", 42), "a", FULL, "", "", False, 0, 0, 0, "a", ("a", 42), []),
    Case("the dead refuse nobody", "abc", ("a", 42), "", ROOM, "", "", False, 1, 0, 0, "", None, []),
]  # fmt: skip


def store_line(calls: Calls, account: Account, waiters: str, turn: Turn) -> None:
    if waiters:
        calls.client.zadd(calls.keys(f"line:{account.line}"), {waiter: at for at, waiter in enumerate(waiters, start=1)})
    if turn:
        fields = {"waiter": turn[0], "lapses_at": START_US + round(turn[1] * SECOND_US)}
        calls.client.hset(calls.keys(f"turn:{account.line}"), mapping=cast("dict[Any, Any]", fields))


def line_of(calls: Calls, account: Account) -> str:
    return "".join(
        waiter.decode() for waiter in cast("list[bytes]", calls.client.zrange(calls.keys(f"line:{account.line}"), 0, -1))
    )


def turn_of(calls: Calls, account: Account) -> Turn:
    fields = cast("dict[bytes, bytes]", calls.client.hgetall(calls.keys(f"turn:{account.line}")))
    return (fields[b"waiter"].decode(), (int(fields[b"lapses_at"]) - START_US) / SECOND_US) if fields else None


def take_turn(calls: Calls, account: Account, waiter: str, ticket: str, *, stays: bool, at_us: int = START_US) -> list[Any]:
    place = (account.line, waiter, ticket, "1" if stays else "", account.early, round(LOOK_S * SECOND_US))
    return TAKE_TURN(calls.client, calls.keys.prefix, at_us, waiter, MINUTE_US, 1, 0, *place, *account.rules)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_a_line(calls: Calls, ears: Ears, case: Case) -> None:
    calls.store(NAME, WINDOW, case.state)
    store_line(calls, ACCOUNT, case.before, case.turn)
    ears.listen(*case.listening)

    decision, ticket, ahead, look_after_us = take_turn(calls, ACCOUNT, case.waiter, case.ticket, stays=case.stays)

    assert (decision[0], ahead, look_after_us / SECOND_US) == (case.allowed, case.ahead, case.look_after_s)
    assert line_of(calls, ACCOUNT) == case.after
    assert bool(ticket) == (case.waiter in case.after and bool(case.waiter))
    assert turn_of(calls, ACCOUNT) == case.turn_after
    assert ears.heard() == case.heard
    charged = WindowState((*case.state.counted, Counted(START_US, 1)))
    assert calls.state(NAME, WINDOW) == (charged if case.allowed == 1 else case.state)


def test_leaving_lets_the_next_look(calls: Calls, ears: Ears) -> None:
    store_line(calls, ACCOUNT, "abc", ("a", 42))
    ears.listen("b", "c")

    assert LEAVE_LINE(calls.client, calls.keys.prefix, START_US, ACCOUNT.line, "a") == 2

    assert (line_of(calls, ACCOUNT), turn_of(calls, ACCOUNT), ears.heard()) == ("bc", ("b", GRACE_S), ["b turn"])


def test_leaving_a_line_in_which_nobody_stands_leaves_no_key(calls: Calls, ears: Ears) -> None:
    store_line(calls, ACCOUNT, "a", ("a", 42))

    assert LEAVE_LINE(calls.client, calls.keys.prefix, START_US, ACCOUNT.line, "a") == 0

    assert keys_of(calls.client) == []


def test_a_crowd_that_died_is_skipped_over_several_calls(calls: Calls, ears: Ears) -> None:
    dead = {f"dead-{number:03}": number for number in range(450)}
    calls.client.zadd(calls.keys(f"line:{ACCOUNT.line}"), dead)
    ears.listen("z")

    left = [take_turn(calls, ACCOUNT, "z", "1000", stays=True)[2] for _ in range(3)]

    assert left == [250, 50, 0]


def test_a_plain_acquire_is_sent_on_when_it_would_overtake(calls: Calls, ears: Ears) -> None:
    store_line(calls, ACCOUNT, "a", ("a", 42))
    before = calls.client.dump(calls.keys(f"line:{ACCOUNT.line}"))

    (reply,) = calls.acquire_all(ACCOUNT, [Ask(START_US)])

    assert reply[:5] == [-1, 1, 2, PATIENCE_S * SECOND_US, 0]
    assert calls.state(NAME, WINDOW) == WindowState()
    assert calls.client.dump(calls.keys(f"line:{ACCOUNT.line}")) == before


def test_a_line_expires_after_its_head_has_to_have_looked(calls: Calls, ears: Ears) -> None:
    """Within its minute those behind come by; the head has nothing to do before its time."""
    calls.store(NAME, WINDOW, WindowState((Counted(server_time_us(calls.client) - 20 * SECOND_US, 2),)))
    ears.listen("a")

    TAKE_TURN(
        calls.client, calls.keys.prefix, "", "", MINUTE_US, 1, 0, ACCOUNT.line, "a", "", "1", ACCOUNT.early, 0, *ACCOUNT.rules
    )

    for name in ("line", "turn"):
        assert 100_000 < ttl_ms(calls.client, calls.keys(f"{name}:{ACCOUNT.line}")) <= 102_001


SLOTTED = Account([(NAME, WINDOW), (NAME, SLOTS)])


def test_a_head_that_waits_for_a_slot_looks_soon_and_is_woken_when_one_is_freed(calls: Calls, ears: Ears) -> None:
    calls.store(NAME, SLOTS, {"busy": START_US + MINUTE_US})
    ears.listen("a")

    decision, _, _, look_after_us = take_turn(calls, SLOTTED, "a", "", stays=True)
    assert (decision[:2], decision[3], look_after_us) == ([0, 2], MINUTE_US, LOOK_S * SECOND_US)
    assert turn_of(calls, SLOTTED) == ("a", LOOK_S + GRACE_S)
    assert calls.settle(SLOTTED, 0, charged_at_us=START_US, at_us=START_US, correction="", holder="busy") == "settled"

    assert ears.heard() == ["a opened"]
    assert keys_of(calls.client, "*awaited*") == []


def test_of_several_lines_the_one_that_has_waited_longest_is_woken(calls: Calls, ears: Ears) -> None:
    accounts = {loop: Account([(NAME, SLOTS), (f"loop:{loop}", WINDOW)]) for loop in "abc"}
    calls.store(NAME, SLOTS, {"busy": START_US + MINUTE_US})
    ears.listen("b", "c")
    for at, (loop, account) in enumerate(accounts.items()):
        take_turn(calls, account, loop, "", stays=True, at_us=START_US + at)

    calls.settle(accounts["a"], 0, charged_at_us=START_US, at_us=START_US, correction="", holder="busy")

    assert ears.heard() == ["b opened"], "a is gone: nobody listens there"


def test_tokens_that_are_given_back_wake_who_waits_for_them(calls: Calls, ears: Ears) -> None:
    tokens = window(100, unit=Unit.TOKENS)
    account = Account([(NAME, tokens)])
    calls.store(NAME, tokens, WindowState((Counted(START_US, 100),)))
    ears.listen("a")
    place = (account.line, "a", "", "1", account.early, round(LOOK_S * SECOND_US))
    TAKE_TURN(calls.client, calls.keys.prefix, START_US, "", MINUTE_US, 1, 50, *place, *account.rules)

    calls.settle(account, 10, charged_at_us=START_US, at_us=START_US, correction="more")
    assert ears.heard() == []
    calls.settle(account, -60, charged_at_us=START_US, at_us=START_US, correction="less")
    assert ears.heard() == ["a opened"]


def test_lines_are_of_scopes_whatever_their_limits(calls: Calls) -> None:
    def line(*limits: tuple[str, Limit]) -> str:
        return Account(limits).line

    assert line(("global", WINDOW), ("loop:a", WINDOW)) == line(("global", SLOTS), ("loop:a", SLOTS), ("loop:a", WINDOW))
    assert line(("global", WINDOW)) != line(("global", WINDOW), ("loop:a", WINDOW))
    assert line() == ""
