"""The integer program against brute force over every fleet, and against the rule for one type."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from autoscaler.planning.fleet_program import Kind, cheapest, cost_of, quotas


def _random_case(seed: int) -> tuple[np.ndarray, list[Kind], int]:
    rng = np.random.default_rng(seed)
    types = int(rng.integers(1, 4))
    periods = int(rng.integers(1, 4)) if types < 3 else int(rng.integers(1, 3))
    kinds = [
        Kind(
            name=f"k{k}",
            price_per_hour=float(rng.uniform(0.05, 2.0)),
            highest_per_s=float(rng.uniform(0.0, 60.0)),
            min_workers=int(rng.integers(0, 2)),
            max_workers=int(rng.integers(1, 5)),
            boot_s=float(rng.uniform(0.0, 1800.0)),
        )
        for k in range(types)
    ]
    return rng.uniform(1.0, 150.0, periods), kinds, int(rng.integers(1, 17))


def _brute_force(rates: np.ndarray, kinds: list[Kind], partitions: int, hours: float, *, fixed: bool) -> float:
    """The lowest cost of all schedules, each tried; infinite = none holds all partitions."""
    # Written anew, by the definition: each worker holds as many partitions as it can answer in time.
    ranges = [range(kind.min_workers, kind.max_workers + 1) for kind in kinds]
    possible = []
    for rate in rates:
        good = []
        for fleet in itertools.product(*ranges):
            held = sum(
                n * min(partitions, math.floor(kind.highest_per_s / (rate / partitions) + 1e-9))
                for n, kind in zip(fleet, kinds, strict=True)
            )
            if held >= partitions and sum(fleet) <= partitions:
                good.append(fleet)
        possible.append(good)
    best = math.inf
    always = [fleet for fleet in possible[0] if all(fleet in good for good in possible)]
    schedules = [(fleet,) * len(rates) for fleet in always] if fixed else itertools.product(*possible)
    for schedule in schedules:
        cost = sum(n * kind.price_per_hour * hours for fleet in schedule for n, kind in zip(fleet, kinds, strict=True))
        for before, after in itertools.pairwise(schedule):
            cost += sum(
                max(0, b - a) * kind.price_per_hour * kind.boot_s / 3600
                for a, b, kind in zip(before, after, kinds, strict=True)
            )
        best = min(best, cost)
    return best


@pytest.mark.parametrize("fixed", [False, True])
def test_no_fleet_is_cheaper_in_200_random_cases(*, fixed: bool) -> None:
    """Brute force over every schedule finds none cheaper that holds the constraints; and none where there is none."""
    solvable = 0
    for seed in range(200):
        rates, kinds, partitions = _random_case(seed)
        expected = _brute_force(rates, kinds, partitions, 1.0, fixed=fixed)
        found = cheapest(rates, kinds, partitions, period_s=3600, fixed=fixed)
        if math.isinf(expected):
            assert found is None, seed
            continue
        solvable += 1
        assert found is not None, seed
        assert found.proven
        assert found.cost == pytest.approx(expected, rel=1e-6, abs=1e-9), seed
    assert solvable > 80


def test_one_type_follows_the_rule_of_the_busiest_worker() -> None:
    """64 partitions, 5/s a worker at most, 40/s in all: 8 partitions each, so 8 workers; at 41/s 7 each, so 10."""
    kind = Kind("cpu", 1.0, 5.0, 1, 64, 10.0)
    found = cheapest([40.0, 41.0], [kind], 64, period_s=3600)
    assert found is not None
    assert found.workers[:, 0].tolist() == [8, 10]


def test_a_start_that_costs_more_than_waiting_is_not_made() -> None:
    """One quiet period between two busy ones: with a start of two hours' price the fleet stays."""
    dear = Kind("gpu", 1.0, 10.0, 0, 8, 7200.0)
    cheap = Kind("gpu", 1.0, 10.0, 0, 8, 60.0)
    for kind, middle in ((dear, 4), (cheap, 1)):
        found = cheapest([40.0, 10.0, 40.0], [kind], 8, period_s=3600)
        assert found is not None
        assert found.workers[:, 0].tolist() == [4, middle, 4]


def test_the_cheaper_mix_wins() -> None:
    """A large worker for the base and a small one for the rest cost less than either alone."""
    large, small = Kind("gpu", 1.0, 80.0, 0, 8, 0.0), Kind("cpu", 0.2, 10.0, 0, 64, 0.0)
    found = cheapest([100.0], [large, small], 100, period_s=3600)
    assert found is not None
    assert found.fleet(0) == {"gpu": 1, "cpu": 2}
    assert found.cost == pytest.approx(1.4)


def test_what_cannot_be_met_is_none() -> None:
    """A worker that cannot hold one partition is of no use, however many there are."""
    assert quotas([100.0], [Kind("cpu", 1.0, 5.0, 0, 64, 0.0)], 10).tolist() == [[0]]
    assert cheapest([100.0], [Kind("cpu", 1.0, 5.0, 0, 64, 0.0)], 10, period_s=3600) is None
    assert cheapest([100.0], [Kind("cpu", 1.0, 5.0, 3, 2, 0.0)], 64, period_s=3600) is None


def test_cost_counts_hours_and_starts() -> None:
    """2 then 3 workers for half an hour each at 4 an hour, and one start of 15 minutes: 4 + 6 + 1."""
    assert cost_of(np.array([[2], [3]]), [Kind("cpu", 4.0, 1.0, 0, 9, 900.0)], 0.5) == pytest.approx(11.0)
