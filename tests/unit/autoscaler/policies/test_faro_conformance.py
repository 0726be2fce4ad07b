"""Faro's relaxed M/D/c percentile and its choice, as its artefact states them.

Source: beomyeol/faro src/solver.py (no unit tests of the formula upstream; the vectors are computed from the formula as
published, by another way than the policy's).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from autoscaler.model import ArrivalHistory, FleetStatus, Objective, Observation, ServiceCurve, TypeStatus, WorkerType
from autoscaler.policies.faro import FaroPolicy, PooledQueue, latency_quantile_s, sample_paths, utilities_by_count
from autoscaler.queueing import erlang

#: ResNet34 of the publication: 180 ms, objective 720 ms.
D, OBJECTIVE = 0.18, Objective(0.72, 0.99)


@pytest.mark.parametrize(("arrivals", "servers"), [(10.0, 3), (20.0, 5), (40.0, 9), (1.0, 1)])
def test_the_percentile_is_half_the_mmc_wait_and_the_service(arrivals: float, servers: int) -> None:
    """W_p = ln(100 C / (100 - p)) / (c mu - lambda), latency = W_p / 2 + D."""
    wait_s = erlang.wait_quantile_s(arrivals, 1 / D, servers, 0.99)
    assert latency_quantile_s(arrivals, PooledQueue(D, servers), 0.99) == pytest.approx(wait_s / 2 + D)


def test_above_95_per_cent_the_latency_goes_on_linearly() -> None:
    """The relaxed form: at twice the load of rho = 0.95 it is twice that latency, and there is no jump."""
    queue = PooledQueue(D, 4)
    edge = 0.95 * 4 / D
    at_edge = latency_quantile_s(edge, queue, 0.99)
    assert latency_quantile_s(2 * edge, queue, 0.99) == pytest.approx(2 * at_edge)
    assert latency_quantile_s(edge * 1.000001, queue, 0.99) == pytest.approx(at_edge, rel=1e-5)


def test_the_utility_is_one_where_the_objective_holds_and_a_ratio_where_not() -> None:
    """Utility = min(1, objective / latency), mean over time: half the time idle, half at twice the capacity."""
    paths = np.array([[0.0, 2 * 0.95 * 2 / D]])
    utility = utilities_by_count(paths, D, OBJECTIVE, 2)[1]
    late_s = latency_quantile_s(float(paths[0, 1]), PooledQueue(D, 2), 0.99)
    assert late_s > 0.72
    assert utility == pytest.approx((1 + 0.72 / late_s) / 2)


def test_an_overloaded_group_is_never_in_time() -> None:
    """With an objective of ten services the published form alone calls 7 servers for a load of 8 in time."""
    loose = Objective(10 * D, 0.99)
    assert latency_quantile_s(8 / D, PooledQueue(D, 7), 0.99) < loose.within_s
    assert utilities_by_count(np.array([[8 / D]]), D, loose, 7)[6] == pytest.approx(0.95 * 7 / 8)


def test_more_servers_never_have_less_utility() -> None:
    """The choice of the fewest depends on it."""
    paths = sample_paths(np.random.default_rng(1).poisson(40.0, 600).astype(np.float64), 42, 50)
    utilities = utilities_by_count(paths, D, OBJECTIVE, 20)
    assert np.all(np.diff(utilities) > -1e-12)


def test_paths_have_the_mean_and_the_spread_of_what_was() -> None:
    """Poisson at 50/s: the mean within 2 % and a spread of ten-second means of sqrt(50 / 10) = 2.2 within a half.

    The means of 60 ten-second counts have a standard error of 0.3 (0.6 %), and an autoregression of six lags on so few
    is off by a few parts of that; 4200 samples add nothing.
    """
    counts = np.random.default_rng(7).poisson(50.0, 600).astype(np.float64)
    paths = sample_paths(counts, 42, 100)
    assert paths.shape == (100, 42)
    assert paths.mean() == pytest.approx(50.0, rel=0.02)
    assert paths.std() == pytest.approx(math.sqrt(5.0), rel=0.5)
    assert np.array_equal(paths, sample_paths(counts, 42, 100))


def test_an_unstable_fit_does_not_run_away() -> None:
    """Exponential growth goes on at most to one and a half times the highest rate seen."""
    counts = np.repeat(1.3 ** np.arange(40), 10)
    assert sample_paths(counts, 42, 20).max() <= 1.5 * counts.max()


def test_the_fleet_grows_at_once_and_shrinks_after_ten_minutes() -> None:
    """300/s are 1.8 workers at full batches and need three or four; then 30/s need one, which waits for 600 s."""
    cpu = WorkerType("cpu", max_workers=64, curve=ServiceCurve(0.015, 0.005, 16), boot_s=20.0)
    policy = FaroPolicy(Objective(1.0, 0.99))
    state, workers, counts = policy.initial(), 1, {}
    for tick in range(130):
        at_s = 10.0 * tick
        history = ArrivalHistory.of(at_s, [300.0 if tick < 2 else 30.0] * 600)
        fleet = FleetStatus({"cpu": workers}, {"cpu": workers})
        seen = Observation(
            "p", at_s, 64, None, {0: 0}, fleet, None, workers={"cpu": TypeStatus(workers)}, history=history
        )
        decision, state = policy.decide(seen, (cpu,), state)
        workers = counts[tick] = decision.fleet["cpu"]
    assert counts[0] in {3, 4}
    assert counts[60] == counts[0]
    assert counts[62] == 1
