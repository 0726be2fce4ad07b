"""Constant, general and bulk service against published values, against each other and against simulated queues."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.errors import UnstableQueue
from autoscaler.model import ServiceCurve
from autoscaler.queueing import batch, bulk, deterministic, erlang, general
from autoscaler.simulation.fleet import queue_latencies_s

CURVE = ServiceCurve(0.015, 0.005, 16)


def test_constant_service_halves_the_wait_of_one_server() -> None:
    """Pollaczek-Khinchine: rho = 0.5 waits 0.5 D, rho = 0.8 waits 2 D, rho = 0.9 waits 4.5 D."""
    for rho, wait in ((0.5, 0.5), (0.8, 2.0), (0.9, 4.5)):
        assert deterministic.mean_wait_s(rho / 0.2, 0.2) == pytest.approx(wait * 0.2)
        assert general.mg1_mean_wait_s(rho / 0.2, 0.2, 0.0) == pytest.approx(wait * 0.2)


def test_two_constant_servers_agree_with_the_published_table() -> None:
    """M/D/2 at rho = 0.5: Lq = 0.177 (Hillier and Yu, Queueing Tables and Graphs, 1981; three digits)."""
    assert deterministic.mean_wait_s(1.0, 1.0, 2) * 1.0 == pytest.approx(0.177, abs=5e-4)


@pytest.mark.parametrize(("servers", "rho", "until_s"), [(1, 0.5, 16.0), (2, 0.8, 24.0), (10, 0.9, 12.0)])
def test_the_distribution_has_the_mean_of_crommelins_series(servers: int, rho: float, until_s: float) -> None:
    """Two ways that share nothing: the series for the mean, and the integral of Franx's distribution.

    The grid is the integral's error, below 1e-3; what lies beyond its end is below 1e-8.
    """
    seconds = np.linspace(0.0, until_s, 481)
    tail = [1 - deterministic.wait_within(t, rho * servers, 1.0, servers) for t in seconds]
    assert np.trapezoid(tail, seconds) == pytest.approx(
        deterministic.mean_wait_s(rho * servers, 1.0, servers), rel=2e-3
    )


def test_the_constant_wait_of_one_server_is_erlangs_of_1909() -> None:
    """P(wait <= t) = (1 - rho) e^{lambda t} for t < D."""
    for t in (0.0, 0.3, 0.9):
        assert deterministic.wait_within(t, 0.7, 1.0) == pytest.approx(0.3 * np.exp(0.7 * t))


@pytest.mark.parametrize("rho", [0.5, 0.9, 0.99, 0.999])
def test_near_saturation_the_geometric_end_of_the_chain_counts(rho: float) -> None:
    """One server is idle for 1 - rho of the time, exactly; at 0.99 over a quarter of the probability is in the end."""
    assert deterministic.wait_within(0.0, rho, 1.0) == pytest.approx(1 - rho, rel=1e-9)
    assert bulk.means(rho * 5.0, ServiceCurve(0.1, 0.1, 1)).busy == pytest.approx(rho, rel=1e-6)


def test_the_quantile_of_constant_service_is_where_the_distribution_is() -> None:
    """And it is a half of the exponential's in heavy traffic, within 10 %, which is what Faro assumes everywhere."""
    found = deterministic.wait_quantile_s(9.5, 1.0, 10, 0.99)
    assert deterministic.wait_within(found, 9.5, 1.0, 10) == pytest.approx(0.99, abs=1e-9)
    assert found == pytest.approx(erlang.wait_quantile_s(9.5, 1.0, 10, 0.99) / 2, rel=0.1)
    assert deterministic.wait_quantile_s(1.0, 1.0, 10, 0.99) == 0.0
    assert deterministic.mean_wait_s(0.0, 1.0, 3) == 0.0
    assert deterministic.wait_within(0.0, 0.0, 1.0, 3) == 1.0


def test_kingman_is_exact_for_poisson_arrivals_and_a_bound_for_regular_ones() -> None:
    """M/M/1 and M/D/1 exactly; D/M/1 at rho = 0.5: 0.255 E[S] by its root 0.2032, below 0.5 and the bound 0.5."""
    assert general.kingman_mean_wait_s(4.0, 0.2, 1.0, 1.0) == pytest.approx(0.8)
    assert general.kingman_mean_wait_s(4.0, 0.2, 1.0, 0.0) == pytest.approx(deterministic.mean_wait_s(4.0, 0.2))
    sigma = 0.2031878
    exact = sigma / (1 - sigma)
    assert exact < general.kingman_mean_wait_s(0.5, 1.0, 0.0, 1.0) <= general.kingman_bound_s(0.5, 1.0, 0.0, 1.0)
    # The bound of Poisson arrivals is lambda (1 / lambda^2 + 1) / (2 (1 - rho)).
    assert general.kingman_bound_s(0.5, 1.0, 1.0, 1.0) == pytest.approx(2.5)


def test_allen_cunneen_is_exact_where_it_should_be() -> None:
    """M/M/c and M/G/1; and for M/D/10 at rho = 0.9 it is within 4 % of the exact value."""
    assert general.mean_wait_s(6.0, 1 / 3, 3, 1.0, 1.0) == pytest.approx(erlang.mean_wait_s(6.0, 3.0, 3))
    assert general.mean_wait_s(4.0, 0.2, 1, 1.0, 0.3) == pytest.approx(general.mg1_mean_wait_s(4.0, 0.2, 0.3))
    assert general.mean_wait_s(9.0, 1.0, 10, 1.0, 0.0) == pytest.approx(
        deterministic.mean_wait_s(9.0, 1.0, 10), rel=0.04
    )


def test_the_general_tail_is_that_of_mmc_and_errs_high_for_constant_service() -> None:
    """It is said to be too long there."""
    assert general.wait_quantile_s(9.0, 1.0, 10, 1.0, 1.0, 0.99) == pytest.approx(
        erlang.wait_quantile_s(9.0, 1.0, 10, 0.99)
    )
    assert general.wait_quantile_s(8.0, 1.0, 10, 1.0, 0.0, 0.99) > deterministic.wait_quantile_s(8.0, 1.0, 10, 0.99)
    assert general.wait_quantile_s(0.5, 1.0, 10, 1.0, 1.0, 0.99) == 0.0


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.85])
def test_bulk_service_agrees_with_a_simulated_worker(rho: float) -> None:
    """Mean, median and p99 of 16 runs, at the rate meant, are the formula's within five standard errors.

    A run's own rate is off by up to a few per cent, and latency moves with it by more; so the runs are fitted by a line
    over their rate, whose value at the rate meant has far less error. Five: with 14 degrees of freedom one of nine
    comparisons is beyond it by chance once in 600. The integral's own error is 1e-3.
    """
    rate, count = rho * CURVE.capacity_per_s, 8000
    found = {
        np.mean: bulk.means(rate, CURVE).sojourn_s,
        np.median: bulk.sojourn_quantile_s(rate, CURVE, 0.5),
        _p99: bulk.sojourn_quantile_s(rate, CURVE, 0.99),
    }
    times = [np.cumsum(np.random.default_rng(run).exponential(1 / rate, count)) for run in range(16)]
    off = np.array([count / own[-1] / rate - 1 for own in times])
    latencies = [np.array(queue_latencies_s(own.tolist(), CURVE)) for own in times]
    for statistic, formula in found.items():
        fit, covariance = np.polyfit(off, [statistic(own) for own in latencies], 1, cov=True)
        assert formula == pytest.approx(fit[1], abs=5 * np.sqrt(covariance[1, 1]) + 1e-3 * formula), statistic


def _p99(latencies: np.ndarray) -> float:
    return float(np.quantile(latencies, 0.99))


def test_bulk_service_with_batches_of_one_is_constant_service() -> None:
    """B = 1: an M/D/1 queue with D = a + b."""
    single = ServiceCurve(0.1, 0.1, 1)
    assert bulk.means(3.0, single).sojourn_s == pytest.approx(deterministic.mean_wait_s(3.0, 0.2) + 0.2)
    assert bulk.means(3.0, single).busy == pytest.approx(0.6)
    quantile = bulk.sojourn_quantile_s(3.0, single, 0.99)
    assert quantile == pytest.approx(deterministic.wait_quantile_s(3.0, 0.2, 1, 0.99) + 0.2, rel=5e-3)


def test_a_batching_worker_is_busy_long_before_it_is_full() -> None:
    """The reference worker: 77 % busy at 30 % of its capacity, 95 % at 50 %, with batches of 2.4 of 16."""
    assert bulk.means(0.3 * CURVE.capacity_per_s, CURVE).busy == pytest.approx(0.77, abs=0.005)
    half = bulk.means(0.5 * CURVE.capacity_per_s, CURVE)
    assert (half.busy, half.batch) == (pytest.approx(0.95, abs=0.005), pytest.approx(2.39, abs=0.005))


@pytest.mark.parametrize(
    ("curve", "rho"),
    [(CURVE, 0.05), (CURVE, 0.95), (ServiceCurve(0.02, 0.02, 8), 0.5), (ServiceCurve(0.005, 0.001, 32), 0.8)],
)
def test_the_quick_estimate_is_as_near_to_the_exact_quantile_as_it_says(curve: ServiceCurve, rho: float) -> None:
    """`batch.sojourn_quantile_s`: within -20 and +50 %; so the exact 99th percentile is at 1 / 1.5 to 1 / 0.8 of it."""
    rate = rho * curve.capacity_per_s
    estimate_s = batch.sojourn_quantile_s(rate, curve, 0.99)
    assert (
        bulk.sojourn_within(estimate_s / 1.5, rate, curve) < 0.99 <= bulk.sojourn_within(estimate_s / 0.8, rate, curve)
    )


@pytest.mark.parametrize("rate", [CURVE.capacity_per_s, 1000.0])
def test_overload_is_refused(rate: float) -> None:
    """At and above capacity there is no steady state, whatever the formula."""
    for formula in (
        lambda: bulk.means(rate, CURVE),
        lambda: bulk.sojourn_quantile_s(rate, CURVE, 0.99),
        lambda: deterministic.mean_wait_s(rate, 1.0, 100),
        lambda: deterministic.wait_within(1.0, rate, 1.0, 100),
        lambda: general.mg1_mean_wait_s(rate, 1.0, 1.0),
        lambda: general.kingman_mean_wait_s(rate, 1.0, 1.0, 1.0),
        lambda: general.kingman_bound_s(rate, 1.0, 1.0, 1.0),
        lambda: general.mean_wait_s(rate, 1.0, 100, 1.0, 1.0),
        lambda: general.wait_quantile_s(rate, 1.0, 100, 1.0, 1.0, 0.99),
    ):
        with pytest.raises(UnstableQueue, match=r"no steady state|only grows"):
            formula()


def test_values_out_of_range_are_refused_by_name() -> None:
    """A negative rate is no rate."""
    with pytest.raises(ValueError, match="arrivals_per_s=-1"):
        deterministic.mean_wait_s(-1.0, 1.0)
    with pytest.raises(ValueError, match=r"cs2=-0\.1"):
        general.mean_wait_s(0.5, 1.0, 1, 1.0, -0.1)
    with pytest.raises(ValueError, match="q=1"):
        bulk.sojourn_quantile_s(10.0, CURVE, 1.0)
    with pytest.raises(ValueError, match="must be above 0"):
        bulk.means(0.0, CURVE)
    with pytest.raises(ValueError, match="at most 500"):
        deterministic.wait_within(1.0, 500.0, 1.0, 501)
