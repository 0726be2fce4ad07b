"""Latency histograms: merged and read."""

from __future__ import annotations

import bisect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler import latency
from autoscaler.model import LATENCY_BOUNDS_S


def histogram(seconds: list[float]) -> tuple[int, ...]:
    """Counts as a worker makes them."""
    counts = [0] * latency.BUCKETS
    for one in seconds:
        counts[bisect.bisect_left(LATENCY_BOUNDS_S, one)] += 1
    return tuple(counts)


@given(st.lists(st.floats(0.001, 99), min_size=1, max_size=200), st.floats(0.01, 1))
@settings(deadline=None)  # the machine may be busy
def test_a_quantile_is_never_below_the_truth_and_at_most_a_third_above(seconds: list[float], q: float) -> None:
    """The bucket's upper bound errs high by less than the buckets' ratio of 10^(1/8)."""
    truth = float(np.quantile(seconds, q, method="inverted_cdf"))
    found = latency.quantile(histogram(seconds), q)
    assert found is not None
    assert truth <= found * (1 + 1e-6)
    assert found <= truth * 1.34 + 1e-9


def test_merging_adds_and_skips_workers_without_results() -> None:
    """An empty histogram is no results; two others add up bucket by bucket."""
    assert latency.merge([histogram([0.01]), (), histogram([0.01, 5.0])]) == histogram([0.01, 0.01, 5.0])


def test_no_results_have_no_quantile() -> None:
    """Nothing measured is `None`, not 0."""
    assert latency.quantile(latency.merge([]), 0.99) is None
    assert latency.within(latency.merge([]), 1.0) is None


def test_beyond_the_last_bound_the_last_bound_is_given() -> None:
    """200 s reads as 100 s (or more)."""
    assert latency.quantile(histogram([200.0]), 0.5) == LATENCY_BOUNDS_S[-1]


def test_the_share_within_a_limit_counts_whole_buckets() -> None:
    """Of 0.5, 0.9 and 3 s two are surely within 1 s."""
    assert latency.within(histogram([0.5, 0.9, 3.0]), 1.0) == pytest.approx(2 / 3)


def test_a_histogram_of_another_version_is_refused() -> None:
    """Counts of a different number of buckets would be read as other latencies."""
    with pytest.raises(ValueError, match="3 buckets"):
        latency.merge([(1, 2, 3)])
