"""Caps on the waiting work under load: many submitters at once, and caps that come to what waits already."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from redis import Redis

from support import wait_until
from turgor.limits.config import LimitsConfig
from turgor.scheduler.backlog import backlogs
from turgor.scheduler.errors import QueueFull
from turgor.scheduler.lane import Lane
from turgor.scheduler.scheduler import Scheduler

from .realm import Realm, lane, template

STORED = "local sum = 0; for _, message in ipairs(redis.call('HVALS', KEYS[1])) do sum = sum + #message end; return sum"
SUBMITTERS = 8
BYTES = 16 + len(template("w0000"))


def api(**backlog: Any) -> dict[str, Any]:
    return {"services": {"api": {"requests_per_day": 1, "backlog": backlog}}}


def names(count: int, first: str = "w") -> list[str]:
    return [f"{first}{number:04}" for number in range(count)]


def fill(realm: Realm, waiting: list[str], to: Lane | None = None) -> None:
    realm.submit_many(realm.task(name, to or lane("api")) for name in waiting)


def dispatch_until_counted(realm: Realm, most_calls: int = 100) -> int:
    for calls in range(most_calls):
        if not realm.state().filling:
            return calls
        realm.dispatch()
    raise AssertionError(f"not counted after {most_calls} calls")


def test_eight_submitters_at_once_never_exceed_a_cap_and_lose_nothing(redis_client: Redis, server_url: str) -> None:
    realm = Realm(redis_client, api(limit=100))
    realm.submit("first", lane("api"))
    accepted: list[str] = []
    refused: list[QueueFull] = []
    start = threading.Barrier(SUBMITTERS)

    def submit(number: int) -> None:
        with Redis.from_url(server_url) as client:
            scheduler = Scheduler(client, realm.keys)
            start.wait()
            for task in range(50):
                try:
                    scheduler.submit(realm.task(f"{number} {task}", lane("api", loop=f"l{task % 3}")), now_us=realm.now_us)
                except QueueFull as error:
                    refused.append(error)
                else:
                    accepted.append(f"{number} {task}")

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(SUBMITTERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = realm.state()
    assert len(accepted) == 100
    assert {(error.scope, error.limit, error.current) for error in refused} == {("service:api", 100, 100)}
    assert set(state.messages) == {"first", *accepted}
    assert state.backlog["service:api"][0] == 100


def test_a_cap_counts_what_waits_already_in_slices(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_day": 1}}})
    realm.submit("first", lane("api"))
    fill(realm, names(2_000))
    for number in range(30):
        realm.submit(f"d{number:04}", lane("api"), due_in_s=5_000)
        realm.submit(f"l{number:04}", lane("api", loop=f"l{number}"))
    realm.publish(api(limit=10))
    assert dispatch_until_counted(realm) > 4
    state = realm.state()
    assert state.backlog == {"service:api": (2_060, 2_060 * BYTES)}
    assert not {"counted", "fill", "fill_lanes"} & state.keys.keys()
    with pytest.raises(QueueFull):
        realm.submit("one more", lane("api"))


def test_what_comes_and_goes_while_a_cap_is_filled_is_counted_once(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_day": 1}}})
    realm.submit("first", lane("api"))
    waiting = names(3_000)
    fill(realm, waiting)
    realm.publish(api(limit=10_000))
    at = 0
    while realm.state().filling or not at:
        for gone in (waiting[at], waiting[-1 - at], waiting[1_500 + at], waiting[2_400 - at]):
            realm.cancel(gone, lane("api"))
        for number in range(20):
            realm.submit(f"new {at} {number}", lane("api"))
        realm.dispatch()
        at += 1
    state = realm.state()
    assert at > 6
    assert state.backlog["service:api"][0] == sum(map(len, state.lanes.values())) == 3_000 + 16 * at
    assert state.backlog["service:api"][1] == redis_client.eval(STORED, 1, realm.keys("message")) - BYTES


def test_a_second_cap_that_comes_while_the_first_is_filled_leaves_both_whole(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_day": 1}}})
    realm.submit("first", lane("api"))
    fill(realm, names(1_500))
    realm.publish(api(limit=10))
    realm.dispatch()
    realm.dispatch()
    realm.publish({**api(limit=10), "loops": {"*": {"backlog": {"limit": 5}}}})
    fill(realm, names(3, "l"), lane("api", loop="a"))
    dispatch_until_counted(realm)
    assert realm.state().backlog["service:api"][0] == 1_503
    assert realm.state().backlog["loop:a"][0] == 3
    realm.publish(api(limit=5_000))
    assert not realm.state().filling
    assert realm.state().backlog == {"service:api": (1_503, 1_503 * BYTES)}


def test_a_higher_cap_keeps_the_count_and_a_cap_that_goes_takes_it_along(redis_client: Redis) -> None:
    realm = Realm(redis_client, api(limit=2))
    for name in ("a", "b", "c"):
        realm.submit(name, lane("api"))
    with pytest.raises(QueueFull):
        realm.submit("d", lane("api"))
    realm.publish(api(limit=3))
    realm.submit("d", lane("api"))
    with pytest.raises(QueueFull):
        realm.submit("e", lane("api"))
    realm.publish({"services": {"api": {"requests_per_day": 1}}})
    state = realm.state()
    assert not {"capped", "filling", "backlog:service:api"} & state.keys.keys()
    realm.submit("e", lane("api"))


def test_a_loop_that_is_named_leaves_the_template_s_cap(redis_client: Redis) -> None:
    template_only: dict[str, Any] = {"services": {"api": {"requests_per_day": 1}}, "loops": {"*": {"backlog": {"limit": 1}}}}
    realm = Realm(redis_client, template_only)
    for name in ("a", "b"):
        realm.submit(name, lane("api", loop="x"))
    realm.publish({**template_only, "loops": {**template_only["loops"], "x": {"backlog": {"limit": 2}}}})
    dispatch_until_counted(realm)
    assert realm.state().backlog["loop:x"][0] == 1
    realm.submit("c", lane("api", loop="x"))
    with pytest.raises(QueueFull):
        realm.submit("d", lane("api", loop="x"))


def test_a_batch_says_which_of_its_tasks_found_no_room(redis_client: Redis) -> None:
    realm = Realm(redis_client, api(limit=2))
    answers = realm.scheduler.submit_many([realm.task(name, lane("api")) for name in "abcd"], now_us=realm.now_us)
    assert [str(answer) for answer in answers[:3]] == ["released", "waiting", "waiting"]
    assert isinstance(answers[3], QueueFull)
    assert answers[3].task == "d"


def test_submitters_that_wait_for_room_are_called_one_for_each_place(redis_client: Redis, server_url: str) -> None:
    realm = Realm(redis_client, api(limit=2, overflow="block", block_for="30s"))
    for name in ("first", "a", "b"):
        realm.submit(name, lane("api"))
    tries: list[str] = []

    def submit(name: str) -> None:
        task = realm.task(name, lane("api"))
        with Redis.from_url(server_url) as client:
            scheduler = Scheduler(client, realm.keys)
            while True:
                tries.append(name)
                try:
                    scheduler.submit(task, now_us=realm.now_us)
                except QueueFull as full:
                    scheduler.wait_for_room(full, 20)
                else:
                    return

    threads = [threading.Thread(target=submit, args=(name,)) for name in names(SUBMITTERS)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(set(tries)) == SUBMITTERS, description="all have tried")
    gone: set[str] = set()
    while len(gone) < SUBMITTERS + 2:
        waiting = realm.state().lanes.get(lane("api").name, [])
        assert len(waiting) <= 2
        for name in waiting[:1]:
            realm.cancel(name, lane("api"))
            gone.add(name)
    for thread in threads:
        thread.join()
    assert gone == {"a", "b", *names(SUBMITTERS)}
    assert realm.state().backlog == {}
    assert len(tries) < 10 * SUBMITTERS


def test_what_waits_is_shown_beside_its_cap(redis_client: Redis) -> None:
    limits = {**api(limit=4, bytes=10 * BYTES), "loops": {"*": {"backlog": {"limit": 2}}}}
    realm = Realm(redis_client, limits)
    realm.submit("first", lane("api"))
    for name in names(2):
        realm.submit(name, lane("api", loop="a"))
    found = backlogs(redis_client, realm.keys, LimitsConfig.load(limits))
    assert [str(each) for each in found] == [
        f"loop:a: 2 of 2 tasks, {2 * BYTES}B wait",
        f"service:api: 2 of 4 tasks, {2 * BYTES}B of {10 * BYTES}B wait",
    ]
    assert [each.pressure for each in found] == [1.0, 0.5]


def test_a_cap_that_is_filled_knows_what_it_may_drop(redis_client: Redis) -> None:
    realm = Realm(redis_client, {"services": {"api": {"requests_per_day": 1}}})
    for name in ("first", "a", "b", "c", "retry~1.0"):
        realm.submit(name, lane("api"))
        realm.tick(1)
    realm.publish(api(limit=3, overflow="shed"))
    dispatch_until_counted(realm)
    realm.submit("z", lane("api"))
    state = realm.state()
    assert state.expired == {"a", "b"}
    assert state.backlog["service:api"][0] == 3
