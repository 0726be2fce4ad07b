"""A fixed fleet, request by request."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.model import Objective, ServiceCurve
from autoscaler.simulation import fleet

CURVE = ServiceCurve(0.02, 0.02, 8)
OBJECTIVE = Objective(1.0, 0.99)


def test_a_batch_by_hand() -> None:
    """First alone for 40 ms; the three that came meanwhile together for 80 ms; a late one alone again."""
    found = fleet.queue_latencies_s([0.0, 0.01, 0.02, 0.03, 0.5], CURVE)
    assert found == pytest.approx([0.04, 0.11, 0.10, 0.09, 0.04])


def test_a_full_batch_leaves_the_rest_for_the_next() -> None:
    """Ten at once with at most 8: 180 ms for eight, 60 ms more for two."""
    assert fleet.queue_latencies_s([0.0] * 10, CURVE) == pytest.approx([0.18] * 8 + [0.24] * 2)


@given(st.integers(1, 200), st.integers(1, 64))
@settings(deadline=None)
def test_partitions_are_owned_evenly(partitions: int, workers: int) -> None:
    """Every worker has floor or ceil of partitions / workers."""
    counts = np.bincount(fleet.owners(partitions, workers), minlength=min(workers, partitions))
    assert counts.max() == -(-partitions // min(workers, partitions))
    assert counts.min() == partitions // min(workers, partitions)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=200), st.integers(1, 12), st.integers(0, 99))
@settings(deadline=None)
def test_each_request_takes_at_least_its_service_and_order_does_not_matter(
    times: list[float], workers: int, seed: int
) -> None:
    """No latency below one row's service; shuffled input gives the same latencies."""
    where = fleet.spread(len(times), 12, seed)
    found = fleet.latencies_s(times, where, partitions=12, workers=workers, curve=CURVE)
    assert (found >= CURVE.seconds(1) - 1e-9).all()
    order = np.argsort(times, kind="stable")
    again = fleet.latencies_s(np.array(times)[order], where[order], partitions=12, workers=workers, curve=CURVE)
    assert sorted(again) == pytest.approx(sorted(found))


def test_the_smallest_fixed_fleet_meets_the_objective_and_a_smaller_does_not() -> None:
    """100/s for 100 s on workers of 44/s: three."""
    times = np.sort(np.random.default_rng(1).uniform(0, 100, 10_000))
    workers, attained = fleet.smallest_fixed_fleet(times, 12, CURVE, OBJECTIVE, 12, seed=1)
    where = fleet.spread(10_000, 12, 1)
    fewer = fleet.latencies_s(times, where, partitions=12, workers=workers - 1, curve=CURVE)
    assert workers == 3
    assert attained >= 0.99 > fleet.attainment(fewer, OBJECTIVE)


def test_an_objective_out_of_reach_is_answered_with_its_attainment() -> None:
    """One worker allowed at 100/s: one, and an attainment below the share."""
    times = np.sort(np.random.default_rng(1).uniform(0, 100, 10_000))
    workers, attained = fleet.smallest_fixed_fleet(times, 12, CURVE, OBJECTIVE, 1)
    assert workers == 1
    assert attained < 0.5


def test_the_overhead_counts() -> None:
    """With 1 s of overhead no fleet answers within 1 s; without requests any does."""
    assert fleet.smallest_fixed_fleet([0.0, 1.0], 12, CURVE, OBJECTIVE, 4, overhead_s=1.0)[1] == 0
    assert fleet.smallest_fixed_fleet([], 12, CURVE, OBJECTIVE, 4) == (1, 1.0)


def test_a_hundred_thousand_requests_take_seconds() -> None:
    """CPU time for all fleets up to the answer."""
    times = np.sort(np.random.default_rng(0).uniform(0, 1000, 100_000))
    start = time.process_time()
    fleet.smallest_fixed_fleet(times, 12, CURVE, OBJECTIVE, 12)
    assert time.process_time() - start < 5
