"""Keys under load: many submitters at once, while what waits is released."""

from __future__ import annotations

import threading

from redis import Redis

from turgor.scheduler.scheduler import Scheduler
from turgor.scheduler.waiting_task import CoalescedInto, Submitted

from .realm import Realm, lane

SUBMITTERS, CALLS = 8, 50


def test_eight_submitters_at_once_never_have_two_tasks_wait_under_one_key(redis_client: Redis, server_url: str) -> None:
    realm = Realm(redis_client, {"services": {"api": {"max_in_flight": 1}}})
    realm.submit("first", lane("api"))
    accepted: list[str] = []
    stand: set[str] = set()
    start, most = threading.Barrier(SUBMITTERS + 1), list[int]()

    def submit(number: int) -> None:
        with Redis.from_url(server_url) as client:
            scheduler = Scheduler(client, realm.keys)
            start.wait()
            for call in range(CALLS):
                task = realm.task(f"{number} {call}", lane("api", loop=f"l{number % 3}", priority=number), key="=k")
                submitted = scheduler.submit(task, now_us=realm.now_us)
                if isinstance(submitted, CoalescedInto):
                    stand.add(submitted.task)
                else:
                    assert submitted in (Submitted.WAITING, Submitted.RELEASED)
                    accepted.append(task.task)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(SUBMITTERS)]
    for thread in threads:
        thread.start()
    start.wait()
    started: list[str] = []
    while any(thread.is_alive() for thread in threads):
        state = realm.state()
        most.append(len(state.messages) - len(state.leases))
        if message := realm.take():
            assert realm.claim(message)
            started.append(message.task)
            realm.finish(message)
    started += realm.work()
    assert max(most) == 1
    assert sorted(started) == sorted(["first", *accepted])
    assert stand <= {*accepted}
    assert realm.state().keyed == []
