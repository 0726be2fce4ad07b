"""Partitions that differ, to workers by load: complete, stable, near even, and what nobody can carry hinders nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.queueing.dealing import SLACK, dealt, skewed
from autoscaler.queueing.split import shrunk
from autoscaler.simulation.assignment import assign

loads = st.lists(st.floats(0.0, 1e4, allow_nan=False), min_size=1, max_size=24)
capacities = st.lists(st.sampled_from([1.0, 1.0, 1.0, 2.0, 20.0]), min_size=1, max_size=8)


@st.composite
def hands(draw: st.DrawFn) -> tuple[list[float], list[float], list[int]]:
    """Loads, capacities, and who has what now."""
    sizes, able = draw(loads), draw(capacities)
    return sizes, able, [draw(st.integers(-1, len(able) - 1)) for _ in sizes]


def carried(sizes: list[float], able: list[float], owner: list[int]) -> list[float]:
    """Load over capacity of each worker."""
    return [sum(s for s, at in zip(sizes, owner, strict=True) if at == w) / able[w] for w in range(len(able))]


@given(hands())
def test_each_partition_has_a_worker_and_the_second_time_nothing_moves(hand: tuple) -> None:
    """Its own answer is what it would answer again, else each rebalance would move something."""
    sizes, able, owner = hand
    first = dealt(sizes, able, owner)
    assert all(0 <= place < len(able) for place in first)
    assert dealt(sizes, able, first) == first


@given(hands())
def test_the_busiest_is_no_busier_than_before(hand: tuple) -> None:
    """Where all had an owner, moving only ever relieves."""
    sizes, able, owner = hand
    owner = [max(0, place) for place in owner]
    assert max(carried(sizes, able, dealt(sizes, able, owner))) <= max(carried(sizes, able, owner)) * (1 + 1e-9) + 1e-3


@given(loads, st.integers(1, 8))
def test_dealt_afresh_the_busiest_has_its_part_and_one_partition_at_most(sizes: list[float], workers: int) -> None:
    """The bound of list scheduling (R. L. Graham, 1966): the mean and the largest."""
    found = carried(sizes, [1.0] * workers, dealt(sizes, [1.0] * workers, [-1] * len(sizes)))
    assert max(found) <= sum(sizes) / workers + max(sizes) + 1e-2


def zipf(partitions: int, exponent: float) -> list[float]:
    """Loads of skewed keys, largest first, summing to 1."""
    raw = [(k + 1) ** -exponent for k in range(partitions)]
    return [one / sum(raw) for one in raw]


@pytest.mark.parametrize("workers", [3, 5, 8, 13])
def test_each_worker_is_within_a_tenth_of_its_part(workers: int) -> None:
    """Of 64 partitions with a Zipf exponent of a half, whoever has what before; by number one had twice its part."""
    sizes = zipf(64, 0.5)
    by_number = assign(64, [1.0] * workers, [-1] * 64)
    for owner in ([-1] * 64, [0] * 64, sorted(by_number)):
        found = carried(sizes, [1.0] * workers, dealt(sizes, [1.0] * workers, owner))
        assert max(found) <= (1 + SLACK) / workers
    assert max(carried(sizes, [1.0] * workers, sorted(by_number))) > 1.6 / workers


def test_one_that_is_too_large_for_anybody_hinders_nobody() -> None:
    """A partition of two workers' load stays alone; the other three share the rest evenly."""
    sizes = [20.0] + [1.0] * 30
    owner = [0] + [1] * 24 + [2] * 6
    found = dealt(sizes, [1.0] * 4, owner)
    assert carried(sizes, [1.0] * 4, found) == pytest.approx([20.0, 10.0, 10.0, 10.0], abs=2.0)
    assert found[0] == 0


def test_two_change_places_where_no_single_move_helps() -> None:
    """12 and 8, of large partitions: giving away 5 or 7 makes it worse, 7 for 6 makes it 11 and 9."""
    found = dealt([7.0, 5.0, 6.0, 2.0], [1.0, 1.0], [0, 0, 1, 1])
    assert sorted(carried([7.0, 5.0, 6.0, 2.0], [1.0, 1.0], found)) == [9.0, 11.0]


def test_who_leaves_gives_away_only_its_own() -> None:
    """And of those who stay nothing moves, where they can be evened out by what is free."""
    sizes = zipf(64, 0.5)
    before = dealt(sizes, [1.0] * 5, [-1] * 64)
    after = dealt(sizes, [1.0] * 4, [place if place < 4 else -1 for place in before])
    assert all(now == was for now, was in zip(after, before, strict=True) if was < 4)


def test_who_comes_gets_its_part_by_few_moves() -> None:
    """A sixth worker gets about a sixth of the load; nothing moves but to it."""
    sizes = zipf(64, 0.5)
    before = dealt(sizes, [1.0] * 5, [-1] * 64)
    after = dealt(sizes, [1.0] * 6, before)
    assert carried(sizes, [1.0] * 6, after)[5] == pytest.approx(1 / 6, rel=SLACK)
    moved = [(was, now) for was, now in zip(before, after, strict=True) if was != now]
    assert sum(now != 5 for _, now in moved) <= 2
    assert len(moved) <= 16


def test_a_large_worker_gets_more() -> None:
    """In proportion to capacity."""
    able = [1.0, 1.0, 4.0]
    assert carried(zipf(64, 0.5), able, dealt(zipf(64, 0.5), able, [-1] * 64)) == pytest.approx([1 / 6] * 3, rel=SLACK)


def test_chance_is_no_skew() -> None:
    """Even partitions of a few hundred records, as chance has them, are even; a Zipf exponent of a half is not."""
    even = [180, 220, 195, 210, 190, 205, 215, 185] * 8
    assert not skewed(shrunk(even))
    assert not skewed([1.0] * 64)
    assert not skewed([])
    assert not skewed([5.0])
    assert skewed(shrunk([round(20_000 * share) for share in zipf(64, 0.5)]))


def test_without_a_worker_nobody_has_anything() -> None:
    """As after a scale-in to nothing."""
    assert dealt([1.0, 2.0], [], [-1, -1]) == [-1, -1]


def test_a_fleet_that_grows_fiftyfold_shares_two_thousand_partitions() -> None:
    """Each is a small part of what the one worker has; all the same it is to end with its part."""
    sizes = zipf(2000, 0.5)
    found = carried(sizes, [1.0] * 50, dealt(sizes, [1.0] * 50, [0] * 2000))
    assert max(found) <= (1 + SLACK) / 50
    assert min(found) >= (1 - SLACK) / 50
