"""Tables of what one call of a script does: the state before, the call, its reply and the state after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis import Redis

from turgor.limits.outcome import Outcome
from turgor.scheduler.outbox import Release

from .realm import EPOCH_US, Message, Realm, State, Window, lane

Step = Callable[[Realm], object]

LANES = {
    "plain": lane(),
    "api": lane("api"),
    "api low": lane("api", priority=0),
    "api high": lane("api", priority=9),
    "api of a": lane("api", loop="a"),
    "api of b": lane("api", loop="b"),
    "chat": lane("api", "chat"),
    "chat of planners high": lane("api", "chat", loop_type="planner", priority=9),
    "git": lane("git"),
    "git of planners high": lane("git", loop_type="planner", priority=9),
    "git on q2": lane("git", queue="q2"),
    "free": lane(unlimited=True),
    "elsewhere": lane("api", queue="{turgor:test}:outbox:q"),
}
_LABELS = {each.name: label for label, each in LANES.items()}

ONE_A_MINUTE: dict[str, Any] = {"services": {"api": {"requests_per_minute": 1}}}
ONE_AT_A_TIME: dict[str, Any] = {"services": {"api": {"max_in_flight": 1}}}
TEN_TOKENS: dict[str, Any] = {"services": {"api": {"token_limits": {"per_minute": 10}}}}
GATE = "service:api|requests"
WINDOW = "service:api:requests/1m"
SLOTS = "service:api:in_flight"
TOKENS = "service:api:tokens/1m"


@dataclass
class Case:
    """One row.

    Parameters
    ----------
    rule:
        What it shows, as a sentence.
    call, reply:
        The call, and what it gives.
    limits, given:
        The state before: the realm's limits, and what happened there.
    after:
        Parts of the state after, as `picture` draws it. What is not named is not looked at.
    bug:
        A known bug that makes the row fail.
    """

    rule: str
    call: Step
    reply: object
    limits: dict[str, Any] = field(default_factory=dict[str, Any])
    given: Sequence[Step] = ()
    after: dict[str, Any] = field(default_factory=dict[str, Any])
    bug: str = ""

    def run(self, client: Redis) -> None:
        realm = Realm(client, self.limits)
        for step in self.given:
            step(realm)
        assert self.call(realm) == self.reply
        drawn = picture(realm.state(), realm.now_us)
        assert {part: drawn[part] for part in self.after} == self.after


def table(*cases: Case) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.rule, marks=_marks(case)) for case in cases])


def _marks(case: Case) -> list[pytest.MarkDecorator]:
    return [pytest.mark.xfail(strict=True, reason=case.bug)] if case.bug else []


def picture(state: State, now_us: int) -> dict[str, Any]:
    """The state in words: tasks by name, lanes by their label, times in seconds from now."""
    places = {_LABELS[name]: "ready" for name in state.ready}
    for gate, lanes in state.gates.items():
        places |= {_LABELS[name]: gate for name in lanes}
    windows = {name: Window.unpack(stored) for name, stored in state.limits.items() if isinstance(stored, bytes) and "/" in name}
    return {
        "lanes": {_LABELS[name]: " ".join(tasks) for name, tasks in state.lanes.items()},
        "places": places,
        "wakes": {name: (time_us - now_us) / 1e6 if time_us else "now" for name, time_us in state.wakes.items()},
        "delayed": [task for _, task, _ in state.delayed],
        "leases": {task: f"{lease.fence} {lease.claimant}".strip() for task, lease in state.leases.items()},
        "deadlines": {task: (time_us - now_us) / 1e6 for task, time_us in state.deadlines.items()},
        "broker": {queue: " ".join(Message.read(each).task for each in reversed(sent)) for queue, sent in state.queues.items()},
        "messages": sorted(state.messages),
        "unclaimed": state.unclaimed,
        "windows": {name: (window.used, window.held) for name, window in windows.items()},
        "slots": {name: sorted(taken) for name, taken in state.limits.items() if isinstance(taken, dict)},
        "shadowed": {name: int(count) for name, count in state.shadowed.items()},
        "regulated": list(state.keys.get("regulators", {})),
        "redelivered": state.redelivered,
        "releasing": {
            task: f"in {(score - now_us) / 1e6:g} s" if score > EPOCH_US / 2 else f"fence {score:g}"
            for (_, task), score in state.releasing.items()
        },
        "asked": sorted(queue.decode().rpartition(":")[2] for queue in state.keys.get("asked", ())),
        "outbox bell": "outbox_bell" in state.keys,
        "expired": sorted(state.expired),
        "learned": state.learned,
        "bell": state.bell,
        "keyed": [f"{key} {task}" for key, _, task in state.keyed],
        "backlog": state.backlog,
        "ahead": {queue: int(slots) for queue, slots in state.keys.get("ahead", {}).items()},
        "refill": {queue: int(places) for queue, places in state.keys.get("refill", {}).items()},
        "clocks": state.keys.get("clocks", {}),
    }


# Steps, to be read as sentences: submit("a", "api"), then claim("a").


def submit(name: str, to: str = "api", **options: Any) -> Step:
    return lambda realm: realm.submit(name, LANES[to], **options)


def submit_all(*names: str, to: str = "api", **options: Any) -> Step:
    return lambda realm: [realm.submit(name, LANES[to], **options) for name in names]


def tick(seconds: float) -> Step:
    return lambda realm: realm.tick(seconds)


def publish(limits: dict[str, Any]) -> Step:
    return lambda realm: realm.publish(limits)


def dispatch(budget: int = 100) -> Step:
    return lambda realm: realm.dispatch(budget)


def silence(realm: Realm) -> None:
    """A dispatcher has heard the bell, done what there was to do, and sleeps."""
    realm.client.delete(realm.keys("bell"))
    realm.dispatch()


def lose(queue: str = "q") -> Step:
    """Whoever popped the message died before it was recorded."""
    return lambda realm: realm.client.delete(queue)


def _last(realm: Realm, name: str) -> Message:
    """The message of the task's release; of its last one, if it is released now."""
    lease = realm.state().leases.get(name)
    return Message(name, lease.fence if lease else "1")


def take_releases(most: int = 100) -> Step:
    """A publisher takes what there is, for 20 s. Gives the messages, and the queues that are asked about."""

    def step(realm: Realm) -> object:
        taken = realm.take_releases(most)
        return (
            " ".join(f"{each.task}:{Message.read(each.envelope).fence}" for each in taken.releases),
            taken.asked,
            taken.next_in_s,
        )

    return step


def confirm(*names: str, fence: int | None = None) -> Step:
    """The broker has confirmed the last releases of these tasks."""
    return lambda realm: realm.confirm(Release(name, fence or int(_last(realm, name).fence), "q", b"") for name in names)


def seen_empty(realm: Realm) -> None:
    """A publisher has looked, and no message lies in the broker's queue."""
    realm.outbox.seen_empty("q", realm.now_us)


def claim(name: str, claimant: str = "w", *, fence: str | None = None) -> Step:
    return lambda realm: realm.claim(Message(name, fence) if fence else _last(realm, name), claimant)


def settle(name: str, tokens: int, *, kind: str = "", fence: str | None = None) -> Step:
    return lambda realm: realm.settle_tokens(Message(name, fence) if fence else _last(realm, name), tokens, kind)


def finish(name: str, outcome: Outcome | None = None, *, fence: str | None = None) -> Step:
    return lambda realm: realm.finish(Message(name, fence) if fence else _last(realm, name), outcome)


def put_back(name: str, *, fence: str | None = None) -> Step:
    return lambda realm: realm.put_back(Message(name, fence) if fence else _last(realm, name))


def renew(*names: str, fence: str | None = None) -> Step:
    return lambda realm: realm.renew(*(Message(name, fence) if fence else _last(realm, name) for name in names))


def attend(worker: str = "w", **slots: int) -> Step:
    return lambda realm: realm.attend(worker, slots)


def cancel(name: str, to: str = "api", **cost: int) -> Step:
    return lambda realm: realm.cancel(name, LANES[to], **cost)


def pause(scope: str) -> Step:
    return lambda realm: realm.regulator.pause(scope, now_us=realm.now_us)


def resume(scope: str) -> Step:
    return lambda realm: realm.regulator.resume(scope, now_us=realm.now_us)


def close(scope: str, seconds: float) -> Step:
    return lambda realm: realm.regulator.close(scope, seconds, now_us=realm.now_us)


def explain(name: str, to: str = "api") -> Step:
    return lambda realm: str(realm.scheduler.explain(name, LANES[to], now_us=realm.now_us))


def throttle(name: str, seconds: float = 30, *, fence: str | None = None) -> Step:
    return lambda realm: realm.throttle(Message(name, fence) if fence else _last(realm, name), seconds)
