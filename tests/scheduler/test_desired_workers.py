"""How many workers work has use for: computed by hand, with a horizon of 10 s."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turgor.scheduler.demand import Demand, LaneDemand, LimitSupply, Presence
from turgor.scheduler.desired_workers import Binding, DesiredWorkers, desired_workers

API = "service:api requests/1m"


def crew(processes: int, busy: int = 0, *, age_s: float = 0.0) -> dict[str, Presence]:
    return {"w": Presence(processes, busy, 0, round(age_s * 1e6), 1)}


def rate(units: float, name: str = API, unit: str = "requests") -> LimitSupply:
    return LimitSupply(name, unit, units)


def slots(free: int, taken: int = 0) -> LimitSupply:
    return LimitSupply("service:api in_flight", slots=free, taken=taken)


def run_time(seconds: float, **services: float) -> dict[str, int]:
    return {"*": round(seconds * 1e6), "api": round(seconds * 1e6)} | {each: round(s * 1e6) for each, s in services.items()}


@dataclass
class Case:
    rule: str
    demand: Demand
    desired: int
    reason: str
    releasable: float | None = None


CASES = [
    Case("nothing asks for nobody", Demand(crew=crew(4)), 0, "idle", 0),
    Case("nobody is there and nothing waits", Demand(), 0, "idle", 0),
    Case(
        "short work that is not limited is to be done by the horizon: 500 x 0.2 s / 10 s",
        Demand(crew=crew(4, 4), run_times_us=run_time(0.2), lanes=(LaneDemand("api", 500),)),
        10,
        "worker-bound",
        500,
    ),
    Case(
        "what lies ready counts alike: (100 + 400) x 0.2 s / 10 s",
        Demand(ready=100, crew=crew(4, 4), run_times_us=run_time(0.2), lanes=(LaneDemand("api", 400),)),
        10,
        "worker-bound",
        400,
    ),
    Case(
        "long work needs a process each, beside those that will be taken still: 6 x (1 - 10/60) + 3 = 8",
        Demand(ready=1, crew=crew(6, 6), run_times_us=run_time(60), lanes=(LaneDemand("api", 2),)),
        8,
        "worker-bound",
        2,
    ),
    Case(
        "a limit's work asks for rate x run time: 6/s x 0.5 s = 3, whatever waits",
        Demand(crew=crew(4, 3), run_times_us=run_time(0.5), limits=(rate(60),), lanes=(LaneDemand("api", 10_000, (0,)),)),
        3,
        f"limit-bound: {API}",
        60,
    ),
    Case(
        "the same work with too few processes is bound by these",
        Demand(crew=crew(2, 2), run_times_us=run_time(0.5), limits=(rate(60),), lanes=(LaneDemand("api", 10_000, (0,)),)),
        3,
        "worker-bound",
        60,
    ),
    Case(
        "long work in balance with its limit asks for no more: 6 a minute of 60 s keep 6 busy, 6 x 50/60 + 1",
        Demand(crew=crew(6, 6), run_times_us=run_time(60), limits=(rate(1),), lanes=(LaneDemand("api", 500, (0,)),)),
        6,
        f"limit-bound: {API}",
        1,
    ),
    Case(
        "a limit that is closed beyond the horizon asks for nobody",
        Demand(crew=crew(4), run_times_us=run_time(0.5), limits=(rate(0),), lanes=(LaneDemand("api", 10_000, (0,)),)),
        0,
        f"limit-bound: {API}",
        0,
    ),
    Case(
        "a trickle keeps one: one task in 20 s",
        Demand(crew=crew(1), run_times_us=run_time(30), limits=(rate(0.5),), lanes=(LaneDemand("api", 9, (0,)),)),
        1,
        f"limit-bound: {API}",
        0.5,
    ),
    Case(
        "of two limits the narrower decides, and is named",
        Demand(
            crew=crew(4),
            run_times_us=run_time(1),
            limits=(rate(500, "global requests/1m"), rate(40)),
            lanes=(LaneDemand("api", 900, (0, 1)),),
        ),
        4,
        f"limit-bound: {API}",
        40,
    ),
    Case(
        "lanes share what a limit gives, the first to move first",
        Demand(
            crew=crew(4),
            run_times_us=run_time(1, git=2),
            limits=(rate(30, "global requests/1m"),),
            lanes=(LaneDemand("api", 20, (0,)), LaneDemand("git", 20, (0,))),
        ),
        4,  # 20 x 1 s / 10 s + 10 x 2 s / 10 s
        "limit-bound: global requests/1m",
        30,
    ),
    Case(
        "a lane takes no more than it has, and leaves the rest to the next",
        Demand(
            crew=crew(9),
            run_times_us=run_time(1),
            limits=(rate(30), rate(5, "loop:a requests/1m")),
            lanes=(LaneDemand("api", 50, (0, 1)), LaneDemand("api", 50, (0,))),
        ),
        3,  # 5 of the first lane, 25 of the second
        "limit-bound: loop:a requests/1m",
        30,
    ),
    Case(
        "tokens are divided by what a task costs: 9,000 / 1,500 = 6 tasks of 5 s",
        Demand(
            crew=crew(3),
            run_times_us=run_time(5),
            limits=(rate(9000, "service:api tokens/1m", "tokens"),),
            lanes=(LaneDemand("api", 100, (0,), tokens=1500),),
        ),
        3,
        "limit-bound: service:api tokens/1m",
        6,
    ),
    Case(
        "a weight is what a task costs in requests: 60 / 20 = 3",
        Demand(crew=crew(3), run_times_us=run_time(10), limits=(rate(60),), lanes=(LaneDemand("api", 9, (0,), requests=20),)),
        3,
        f"limit-bound: {API}",
        3,
    ),
    Case(
        "what costs no tokens passes a limit of tokens",
        Demand(
            crew=crew(1),
            run_times_us=run_time(10),
            limits=(rate(0, "service:api tokens/1m", "tokens"),),
            lanes=(LaneDemand("api", 7, (0,)),),
        ),
        7,
        "worker-bound",
        7,
    ),
    Case(
        "long work behind slots asks for the free ones: 3 run, 5 are free, 3 x 50/60 stay and 3 x 10/60 of theirs come free",
        Demand(crew=crew(3, 3), run_times_us=run_time(60), limits=(slots(5, 3),), lanes=(LaneDemand("api", 100, (0,)),)),
        8,
        "worker-bound",
        5.5,
    ),
    Case(
        "short work behind slots keeps all of them busy, and no more: 4 free and 4 that come free",
        Demand(crew=crew(4, 4), run_times_us=run_time(0.1), limits=(slots(4, 4),), lanes=(LaneDemand("api", 10_000, (0,)),)),
        8,
        "worker-bound",
        800,
    ),
    Case(
        "with a process for each slot, the slots bind",
        Demand(crew=crew(8, 8), run_times_us=run_time(60), limits=(slots(0, 8),), lanes=(LaneDemand("api", 100, (0,)),)),
        8,
        "limit-bound: service:api in_flight",
        8 * 10 / 60,
    ),
    Case(
        "what runs keeps its process",
        Demand(crew=crew(8, 5), run_times_us=run_time(0.1)),
        5,
        "served",
        0,
    ),
    Case(
        "nothing is known of the run time: a second is guessed, so 40 x 1 s / 10 s",
        Demand(crew=crew(1), lanes=(LaneDemand("api", 40),)),
        4,
        "worker-bound",
    ),
    Case(
        "what has been running for longer corrects the guess: 4 for 5 s each, so 4 x 0 + 40 x 5 s / 10 s",
        Demand(crew=crew(4, 4, age_s=5), lanes=(LaneDemand("api", 40),)),
        20,
        "worker-bound",
    ),
    Case(
        "the example of docs/autoscaling.md, while its burst lasts: (5 + 0.5 x 10) x 8 s / 10 s",
        Demand(crew=crew(8), run_times_us=run_time(8), limits=(rate(10),), lanes=(LaneDemand("api", 400, (0,)),)),
        8,
        f"limit-bound: {API}",
        10,
    ),
    Case(
        "the same when it is spent: 0.5 x 10 x 8 s / 10 s",
        Demand(crew=crew(8, 4), run_times_us=run_time(8), limits=(rate(5),), lanes=(LaneDemand("api", 390, (0,)),)),
        4,
        f"limit-bound: {API}",
        5,
    ),
    Case(
        "the same without its limit: 400 x 8 s / 10 s",
        Demand(crew=crew(8), run_times_us=run_time(8), lanes=(LaneDemand("api", 400),)),
        320,
        "worker-bound",
        400,
    ),
    Case(
        "the one that holds the most is named",
        Demand(
            crew=crew(9),
            run_times_us=run_time(0.1),
            limits=(rate(1, "loop:a requests/1m"), rate(1, "loop:b requests/1m")),
            lanes=(LaneDemand("api", 5, (0,)), LaneDemand("api", 50, (1,))),
        ),
        1,
        "limit-bound: loop:b requests/1m",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_the_number_and_the_reason_are_those_computed_by_hand(case: Case) -> None:
    answer = desired_workers(case.demand, horizon_s=10)
    assert (answer.desired, answer.reason) == (case.desired, case.reason)
    if case.releasable is not None:
        assert answer.releasable == pytest.approx(case.releasable)


def test_a_longer_horizon_asks_for_fewer_processes_for_the_same_work() -> None:
    demand = Demand(crew=crew(1), run_times_us=run_time(1), lanes=(LaneDemand("api", 100),))
    assert [desired_workers(demand, horizon_s=horizon).desired for horizon in (1, 10, 100)] == [100, 10, 1]


def test_an_answer_says_what_it_is_made_from() -> None:
    demand = Demand(ready=3, crew=crew(4, 2), run_times_us=run_time(10), limits=(rate(2),), lanes=(LaneDemand("api", 9, (0,)),))
    assert desired_workers(demand) == DesiredWorkers(5, 4, Binding.WORKERS, "", ready=3, running=2, waiting=9, releasable=2)


@pytest.mark.parametrize(("desired", "per_worker", "workers"), [(0, 8, 0), (1, 8, 1), (8, 8, 1), (9, 8, 2), (17, 4, 5)])
def test_processes_are_counted_in_workers_rounded_up(desired: int, per_worker: int, workers: int) -> None:
    assert DesiredWorkers(desired, 0, Binding.WORKERS).workers(per_worker) == workers


@given(
    desired=st.integers(0, 200),
    pools=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    fixed=st.integers(0, 40),
)
def test_pools_that_share_the_difference_have_none_too_few_and_at_most_one_each_too_many(
    desired: int, pools: list[int], fixed: int
) -> None:
    answer = DesiredWorkers(desired, sum(pools) + fixed, Binding.WORKERS)
    sizes = [answer.share_of(size, len(pools)) for size in pools]
    assert desired <= sum(sizes) + fixed < desired + len(pools)


@given(st.data())
def test_more_of_anything_never_asks_for_fewer(data: st.DataObject) -> None:
    count = st.integers(0, 500)
    limits = tuple(
        data.draw(st.sampled_from([rate(data.draw(st.floats(0, 300))), slots(data.draw(count), data.draw(count))]))
        for _ in range(data.draw(st.integers(0, 3)))
    )
    places = st.sets(st.integers(0, len(limits) - 1)) if limits else st.just(set[int]())
    lane = LaneDemand("api", data.draw(count), tuple(data.draw(places)), requests=data.draw(st.integers(1, 4)))
    ready, busy = data.draw(count), data.draw(st.integers(0, 50))
    times = run_time(data.draw(st.floats(0.01, 100)))

    def desired(waiting: int, more_ready: int = 0) -> int:
        lanes = (LaneDemand(lane.service, waiting, lane.limits, lane.requests),)
        return desired_workers(Demand(ready + more_ready, crew(50, busy), times, limits, lanes)).desired

    assert busy <= desired(lane.waiting) <= desired(lane.waiting + 10)
    assert desired(lane.waiting) <= desired(lane.waiting, more_ready=10)
