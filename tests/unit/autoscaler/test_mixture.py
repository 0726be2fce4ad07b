"""The cheapest mix: against trying everything, against the integer program, and what it rests on, the sharing out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autoscaler.planning import fleet_program
from autoscaler.planning.mixture import MixKind, mixes
from autoscaler.simulation import assignment

GPU = MixKind("gpu", 19.0, 8.0, 0, 4)
CPU = MixKind("cpu", 1.0, 1.0, 0, 40)


def even(partitions: int) -> tuple[float, ...]:
    """Shares of partitions that are alike."""
    return (1 / partitions,) * partitions


def carried(fleet: tuple[int, ...], kinds: tuple[MixKind, ...], partitions: int) -> float:
    """Load at which the busiest worker is full, with the partitions shared out as the group does it."""
    worths = [kind.worth for kind, count in zip(kinds, fleet, strict=True) for _ in range(count)]
    if not worths:
        return 0.0
    given_out = assignment.quotas(partitions, worths, [0] * len(worths))
    return min(partitions * worth / n for worth, n in zip(worths, given_out, strict=True) if n)


@st.composite
def types(draw: st.DrawFn) -> tuple[MixKind, ...]:
    """One to three types, the fast one, of worth 1, last."""
    slow = [
        MixKind(
            name,
            draw(st.sampled_from([0.5, 2.0, 3.5, 19.0])),
            draw(st.sampled_from([0.4, 1.0, 3.0, 8.0])),
            draw(st.integers(0, 1)),
            draw(st.integers(1, 3)),
        )
        for name in ("big", "gpu")[: draw(st.integers(0, 2))]
    ]
    return (*slow, MixKind("cpu", 1.0, 1.0, draw(st.integers(0, 2)), draw(st.integers(2, 6))))


@given(types(), st.integers(1, 16), st.data())
@settings(max_examples=150)
def test_no_fleet_that_carries_the_need_is_cheaper(
    kinds: tuple[MixKind, ...], partitions: int, data: st.DataObject
) -> None:
    """All fleets within the bounds, each with its partitions given out: the cheapest that carries costs as much."""
    assume(sum(min(kind.min_workers, kind.max_workers) for kind in kinds) <= partitions)
    table = mixes(kinds, even(partitions))
    need = float(data.draw(st.sampled_from(table.levels.tolist())))
    fleets = [
        fleet
        for fleet in itertools.product(
            *(range(min(kind.min_workers, partitions), min(kind.max_workers, partitions) + 1) for kind in kinds)
        )
        if sum(fleet) <= partitions and carried(fleet, kinds, partitions) >= need - 1e-6
    ]
    price = [sum(n * kind.price_per_hour for n, kind in zip(fleet, kinds, strict=True)) for fleet in fleets]
    found = table.cheapest(need)
    paid = sum(n * kind.price_per_hour for n, kind in zip(found, kinds, strict=True))
    if fleets:
        assert found in fleets
        assert paid == pytest.approx(min(price))
    else:
        assert not table.carries[:, table.place(need)].any()


@given(st.integers(1, 100))
@settings(max_examples=40)
def test_it_is_the_integer_program_for_one_period(need: int) -> None:
    """HiGHS proves no fleet cheaper, in the same words: partitions that a worker can hold."""
    partitions, unit = 64, 168.0
    table = mixes((GPU, CPU), even(partitions))
    level = int(table.levels[table.place(float(need))])
    kinds = [
        fleet_program.Kind(kind.name, kind.price_per_hour, kind.worth * unit, kind.min_workers, kind.max_workers, 20.0)
        for kind in (GPU, CPU)
    ]
    proven = fleet_program.cheapest([level * unit], kinds, partitions, period_s=3600.0)
    found = table.cheapest(float(need))
    if proven is None:
        assert not table.carries[:, table.place(float(need))].any()
    else:
        assert proven.cost == pytest.approx(8 * found[0] + found[1])


@given(st.integers(1, 64), st.integers(1, 64))
def test_one_type_alone_is_the_rule_of_the_busiest_partition_owner(partitions: int, need: int) -> None:
    """The least count c with ceil(P / c) R / P <= 1, where there is one."""
    table = mixes((MixKind("cpu", 1.0, 1.0, 1, 64),), even(partitions))
    counts = [c for c in range(1, partitions + 1) if -(-partitions // c) * need <= partitions]
    level = table.place(float(need))
    assert table.levels[level] == min(need, table.levels[-1])
    if counts:
        assert table.cheapest(float(need)) == (counts[0],)
    else:
        assert table.levels[level] < need or not table.carries[0, level]


def test_a_gpu_is_worth_it_from_nine_cpu_workers_on() -> None:
    """By hand: 19 times the capacity at 8 times the price, and one CPU worker at least."""
    table = mixes((GPU, MixKind("cpu", 1.0, 1.0, 1, 40)), even(64))
    assert table.cheapest(8) == (0, 8)
    assert table.cheapest(10) == (1, 1)
    assert table.cheapest(20) == (1, 2)
    assert table.cheapest(33) == (2, 1)
    # Two GPUs and eight CPU workers carry 43.4, 24 an hour; three GPUs with one 57, 25 an hour.
    assert table.cheapest(43) == (2, 8)
    assert table.cheapest(44) == (3, 1)


def test_what_a_person_allows_bounds_the_whole_fleet() -> None:
    """At most three workers, at least five: of all types in sum."""
    kinds = (GPU, CPU)
    few = mixes(kinds, even(64), most=3)
    assert sum(few.cheapest(30)) <= 3
    many = mixes(kinds, even(64), fewest=5)
    assert sum(many.cheapest(1)) == 5


def test_uneven_partitions_need_more() -> None:
    """With half of the load on one partition in eight a CPU worker beside the GPU may have to hold that one."""
    shares = (0.3, *(0.1,) * 7)
    even_fleet, uneven_fleet = (mixes((GPU, CPU), given_out).cheapest(20) for given_out in (even(8), shares))
    prices = [8 * fleet[0] + fleet[1] for fleet in (even_fleet, uneven_fleet)]
    assert prices[1] >= prices[0]
    held = mixes((GPU, CPU), shares)
    assert bool(held.carries.any(axis=0).all()) is False or np.isfinite(held.price).all()


@given(types(), st.integers(4, 16), st.lists(st.integers(0, 5), min_size=2, max_size=2))
@settings(max_examples=150)
def test_workers_that_are_there_count_as_the_nearest_combination_that_is_not_larger(
    kinds: tuple[MixKind, ...], partitions: int, there: list[int]
) -> None:
    """Looked for among all combinations; the first where none is that small."""
    assume(len(kinds) > 1)
    table = mixes(kinds, even(partitions))
    counts = np.array(there[: len(kinds) - 1])
    fits = np.flatnonzero((table.slow <= counts).all(axis=1))
    best = int(fits[np.argmax(table.slow[fits].sum(axis=1))]) if fits.size else 0
    assert int(table.rows(counts[None, :])[0]) == best
