"""A pool's size follows what is wanted upwards at once and downwards with patience: computed by hand, without a clock."""

from __future__ import annotations

from turgor.worker.steady_size import SteadySize

PATIENCE_S = 30


def follow(*wanted: tuple[float, int], size: int = 1, steady: SteadySize | None = None) -> list[int]:
    """The sizes of a pool that gets what is said, at each time."""
    steady = steady or SteadySize(PATIENCE_S)
    sizes: list[int] = []
    for now_s, want in wanted:
        size = steady.want(want, size, now_s)
        sizes.append(size)
    return sizes


def test_it_grows_at_once_and_at_most_doubles_each_time() -> None:
    assert follow((0, 20), (1, 20), (2, 20), (3, 20)) == [3, 6, 12, 20]


def test_it_grows_out_of_nothing() -> None:
    assert follow((0, 9), (1, 9), (2, 9), size=0) == [2, 4, 8]


def test_it_shrinks_when_less_was_wanted_for_as_long_as_its_patience() -> None:
    assert follow((0, 8), (10, 2), (29, 2), (30, 2), (31, 2), size=8) == [8, 8, 8, 2, 2]


def test_it_shrinks_to_the_most_that_was_wanted_meanwhile() -> None:
    assert follow((0, 8), (10, 2), (20, 5), (31, 1), (49, 1), (50, 1), size=8) == [8, 8, 8, 5, 5, 1]


def test_what_comes_and_goes_moves_nothing() -> None:
    pulses = [(float(second), 6 if second % 20 == 0 else 0) for second in range(200)]
    assert set(follow(*pulses, size=6)) == {6}


def test_it_does_not_shrink_before_it_has_looked_for_as_long_as_its_patience() -> None:
    """A worker that has just started, with processes that it was told to have."""
    assert follow((100, 0), (129, 0), (130, 0), size=4) == [4, 4, 0]


def test_a_gap_in_which_nothing_was_known_starts_the_patience_anew() -> None:
    steady = SteadySize(PATIENCE_S)
    assert follow((0, 5), (10, 0), size=5, steady=steady) == [5, 5]
    steady.hold()
    assert follow((100, 0), (129, 0), (130, 0), size=5, steady=steady) == [5, 5, 0]


def test_after_a_gap_it_grows_at_once() -> None:
    steady = SteadySize(PATIENCE_S)
    follow((0, 1), steady=steady)
    steady.hold()
    assert follow((100, 4), size=4, steady=steady) == [4]
    assert follow((101, 8), size=4, steady=steady) == [8]
