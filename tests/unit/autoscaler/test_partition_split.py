"""The busiest worker of a group."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.queueing import split
from autoscaler.queueing.dealing import skewed

weights = st.lists(st.floats(0.01, 10), min_size=1, max_size=40)


def shares(raw: list[float]) -> tuple[float, ...]:
    """Weights as shares, largest first."""
    return tuple(sorted((one / sum(raw) for one in raw), reverse=True))


def test_even_partitions_only_help_at_certain_counts() -> None:
    """64 partitions: the counts at which ceil(64 / c) changes."""
    assert list(split.useful_counts((1 / 64,) * 64)) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16, 22, 32, 64]


def test_nine_workers_on_64_partitions_leave_one_with_eight() -> None:
    """An eighth of the load, not a ninth."""
    assert split.busiest_share((1 / 64,) * 64, 9) == 8 / 64


@given(weights, st.integers(1, 40))
@settings(deadline=None)  # the machine may be busy
def test_the_busiest_has_at_least_its_even_share_and_the_largest_partition(raw: list[float], workers: int) -> None:
    """No assignment beats 1/c or splits a partition; none leaves more than its part and one partition on a worker."""
    parts = shares(raw)
    found = split.busiest_share(parts, workers)
    by_number = math.ceil(len(parts) / workers) / len(parts)
    assert found >= max(1 / workers, parts[0]) - 1e-9
    assert found >= by_number - 1e-9 or skewed(parts)
    assert found <= max(1 / workers + parts[0], by_number) + 1e-9


def test_a_hot_partition_decides() -> None:
    """With 40 % on one of ten partitions no fleet has less than 40 % on a worker."""
    parts = shares([6.0] + [1.0] * 9)
    assert split.busiest_share(parts, 10) == pytest.approx(0.4)


def test_chance_is_not_taken_for_skew() -> None:
    """Shares counted from even arrivals stay nearly even, though the busiest looks a tenth busier."""
    counts = np.random.default_rng(3).multinomial(1500, [1 / 12] * 12)
    smoothed = split.smoothed_shares(dict(enumerate(counts.tolist())), 12)
    assert counts.max() / 1500 > 1.1 / 12
    assert smoothed[0] < 1.03 / 12
    assert sum(smoothed) == pytest.approx(1)


def test_skew_is_not_taken_for_chance() -> None:
    """A partition with twice the arrivals of the others keeps nearly all of its share."""
    counts = np.random.default_rng(3).multinomial(3000, np.array([2] + [1] * 11) / 13)
    assert split.smoothed_shares(dict(enumerate(counts.tolist())), 12)[0] == pytest.approx(2 / 13, rel=0.1)


@pytest.mark.parametrize("arrivals", [{}, {0: 0.0, 1: 0.0}, {0: 5.0}])
def test_without_counts_partitions_are_even(arrivals: dict[int, float]) -> None:
    """Nothing, zeros or part of the partitions say nothing about shares."""
    assert split.smoothed_shares(arrivals, 2) == (0.5, 0.5)


def test_skewed_partitions_are_not_dealt_by_number() -> None:
    """Of two workers one has nine of 17 partitions, 0.53 of them; by load each has half."""
    uneven = shares([15.0] * 6 + [10 / 11] * 11)
    assert split.busiest_share(uneven, 2) == pytest.approx(0.5, abs=0.01)
    assert split.busiest_share(shares([1.0] * 17), 2) == pytest.approx(9 / 17)
