"""The batch-service estimate against an exact simulation, and the simulation against theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.errors import UnstableQueue
from autoscaler.model import Objective, ServiceCurve
from autoscaler.queueing import batch
from autoscaler.simulation import fleet

CURVES = [ServiceCurve(0.02, 0.02, 8), ServiceCurve(0.015, 0.005, 16), ServiceCurve(0.02, 0.001, 64)]
curves = st.builds(ServiceCurve, st.floats(0.001, 0.2), st.floats(0.0005, 0.05), st.integers(1, 64))


def poisson(rate_per_s: float, count: int, seed: int) -> list[float]:
    """Arrival times of a Poisson process."""
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate_per_s, count)).tolist()


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.8])
def test_batches_of_one_wait_as_pollaczek_and_khinchine_say(rho: float) -> None:
    """M/D/1: mean time in system s + rho s / (2 (1 - rho)), within four standard errors from 20 independent runs."""
    means = [np.mean(fleet.queue_latencies_s(poisson(rho, 20_000, seed), ServiceCurve(1, 0, 1))) for seed in range(20)]
    error = np.std(means, ddof=1) / np.sqrt(len(means))
    assert abs(np.mean(means) - (1 + rho / (2 * (1 - rho)))) < 4 * error


def test_boundless_batches_of_fixed_time_take_one_and_a_half_times_that() -> None:
    """When the server is always busy a request waits half a batch on average and then a whole one."""
    found = fleet.queue_latencies_s(poisson(200, 50_000, 1), ServiceCurve(1, 0, 10**6))
    assert np.mean(found) == pytest.approx(1.5, rel=0.02)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("rho", [0.1, 0.5, 0.8, 0.9, 0.95])
def test_the_estimate_is_near_the_simulated_99th_percentile(curve: ServiceCurve, rho: float) -> None:
    """Within -20 and +50 % as the documentation says, with 100,000 requests each."""
    rate = rho * curve.capacity_per_s
    truth = np.quantile(fleet.queue_latencies_s(poisson(rate, 100_000, 1), curve)[1000:], 0.99)
    assert 0.8 < batch.sojourn_quantile_s(rate, curve, 0.99) / truth < 1.5


def test_the_estimate_agrees_with_an_independent_simulator() -> None:
    """A 15 ms, b 5 ms, batch 16: 0.24 s at rho 0.90, 0.37 s at 0.95, 0.53 s at 0.97."""
    curve = ServiceCurve(0.015, 0.005, 16)
    found = [batch.sojourn_quantile_s(rho * curve.capacity_per_s, curve, 0.99) for rho in (0.90, 0.95, 0.97)]
    assert found == pytest.approx([0.24, 0.37, 0.53], rel=0.1)


@given(curves, st.floats(0, 0.98), st.floats(0, 0.98), st.floats(0.5, 0.999))
@settings(deadline=None)  # the machine may be busy
def test_more_load_is_never_faster(curve: ServiceCurve, one: float, other: float, q: float) -> None:
    """The estimate grows with the rate."""
    low, high = sorted((one * curve.capacity_per_s, other * curve.capacity_per_s))
    assert batch.sojourn_quantile_s(low, curve, q) <= batch.sojourn_quantile_s(high, curve, q) + 1e-9


@given(curves, st.floats(0.01, 5), st.floats(1, 20))
@settings(deadline=None)  # the machine may be busy
def test_the_highest_rate_meets_the_objective_and_more_does_not(
    curve: ServiceCurve, within_s: float, spread: float
) -> None:
    """The bisection ends at the edge, or at the utilisation limit, or at 0."""
    objective = Objective(within_s, 0.99)
    rate = batch.highest_rate(curve, objective, 0.9, spread)
    assert 0 <= rate <= 0.9 * curve.capacity_per_s
    if rate > 0:
        assert batch.sojourn_quantile_s(rate, curve, 0.99, spread) <= within_s + 1e-6
    if rate < 0.89 * curve.capacity_per_s:
        assert batch.sojourn_quantile_s(rate + 0.01 * curve.capacity_per_s, curve, 0.99, spread) > within_s


def test_bursts_make_it_slower() -> None:
    """Ten times the variance makes the queue at 80 % load longer."""
    curve = CURVES[0]
    rate = 0.8 * curve.capacity_per_s
    assert batch.sojourn_quantile_s(rate, curve, 0.99, 10) > 1.5 * batch.sojourn_quantile_s(rate, curve, 0.99)


def test_overload_is_refused() -> None:
    """At capacity the queue grows for ever."""
    with pytest.raises(UnstableQueue, match="fewer partitions"):
        batch.sojourn_quantile_s(CURVES[0].capacity_per_s, CURVES[0], 0.99)


def test_an_objective_shorter_than_one_service_cannot_be_met() -> None:
    """No rate is slow enough for 10 ms when one row takes 40 ms."""
    assert batch.highest_rate(CURVES[0], Objective(0.01, 0.99)) == 0
