"""The simulated group against queueing theory.

Each figure is compared with its confidence interval from 40 batches of the run: their means are nearly independent, so
the standard error of the whole follows from their spread, and four of them are exceeded once in 10,000 runs by chance.
Each test also asks that this interval is narrow, or it would prove nothing.
"""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.model import ServiceCurve
from autoscaler.queueing import bulk, deterministic
from autoscaler.simulation.engine import Engine
from autoscaler.simulation.scenario import SimulatedType

BATCHES = 40
#: Four standard errors of a mean of 40 batches.
ERRORS = 4.0


def served(
    rate: float, curve: ServiceCurve, *, records: int, workers: int = 1, partitions: int = 1, seed: int = 1
) -> tuple[np.ndarray, Engine]:
    """Sojourn times of Poisson arrivals at a fixed group, and the group."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, records))
    where = rng.integers(0, partitions, records)
    kind = SimulatedType("w", curve, 1.0, 1.0, 0.0, 1, 64)
    engine = Engine(times, where, partitions=partitions, types=[kind], pause_s=0.0, start_s=-2.0)
    engine.declare({"w": workers})
    engine.advance(0.0)
    engine.advance(float(times[-1]) + 1e4)
    return engine.latencies_s, engine


def close(values: np.ndarray, expected: float, *, within: float) -> None:
    """The mean of the values is the expected one, as far as this many values can tell."""
    means = values[: values.size // BATCHES * BATCHES].reshape(BATCHES, -1).mean(axis=1)
    error = float(means.std(ddof=1)) / BATCHES**0.5
    assert error * ERRORS < within * expected, "more records are needed for this to say anything"
    assert abs(float(means.mean()) - expected) < ERRORS * error


@pytest.mark.parametrize("utilisation", [0.3, 0.7, 0.9])
def test_one_worker_without_batches_is_m_d_1(utilisation: float) -> None:
    """Mean wait rho D / (2 (1 - rho)), and the chance to wait at most 2 D."""
    service_s = 0.02
    rate = utilisation / service_s
    sojourn, engine = served(rate, ServiceCurve(0.015, 0.005, 1), records=1_000_000)
    waits = sojourn - service_s
    close(waits, deterministic.mean_wait_s(rate, service_s), within=0.08)
    close(
        (waits <= 2 * service_s).astype(float), deterministic.wait_within(2 * service_s, rate, service_s), within=0.05
    )
    # Busy for as long as it served.
    assert engine.busy_s()["w"] == pytest.approx(1_000_000 * service_s)


def test_a_group_is_separate_queues_not_one() -> None:
    """Four workers on twelve partitions: each is an M/D/1 of a quarter of the load, and waits far beyond M/D/4."""
    service_s, rate = 0.02, 160.0
    sojourn, _ = served(rate, ServiceCurve(0.02, 0.0, 1), records=1_000_000, workers=4, partitions=12)
    close(sojourn - service_s, deterministic.mean_wait_s(rate / 4, service_s), within=0.08)
    assert np.mean(sojourn - service_s) > 3 * deterministic.mean_wait_s(rate, service_s, 4)


def test_the_busiest_worker_decides() -> None:
    """Five workers on 12 partitions: those with three are at 0.9, the others at 0.6; means in proportion to records."""
    service_s = 0.02
    rate = 0.9 / service_s * 4
    sojourn, _ = served(rate, ServiceCurve(0.02, 0.0, 1), records=1_000_000, workers=5, partitions=12)
    busy, idle = (deterministic.mean_wait_s(rate * held / 12, service_s) for held in (3, 2))
    close(sojourn - service_s, (6 * busy + 6 * idle) / 12, within=0.12)


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.9])
def test_batches_are_the_bulk_queue(utilisation: float) -> None:
    """Mean sojourn, mean batch and busy part of the exact theory; its 99th percentile is exceeded by 1 %."""
    curve = ServiceCurve(0.015, 0.005, 16)
    rate = utilisation * curve.capacity_per_s
    sojourn, engine = served(rate, curve, records=1_000_000)
    theory = bulk.means(rate, curve)
    close(sojourn, theory.sojourn_s, within=0.05)
    (worker,) = engine.workers
    # Hundreds of thousands of batches: a part in a hundred is more than four standard errors of either.
    assert worker.rows / worker.batches == pytest.approx(theory.batch, rel=0.01)
    assert worker.busy_s / (1_000_000 / rate) == pytest.approx(theory.busy, rel=0.01)
    # The theory's integral is exact to about 1e-3 of probability.
    beyond = float(np.mean(sojourn > bulk.sojourn_quantile_s(rate, curve, 0.99)))
    assert beyond == pytest.approx(0.01, abs=0.0025)


def test_saturated_it_costs_what_a_fluid_would() -> None:
    """All records there at the start: three workers are done when full batches would be, to one batch each."""
    curve = ServiceCurve(0.015, 0.005, 16)
    where = np.tile(np.arange(3), 16_000)
    kind = SimulatedType("w", curve, 2.0, 1.0, 0.0, 1, 64)
    engine = Engine(np.zeros(where.size), where, partitions=3, types=[kind], pause_s=0.0, start_s=-2.0)
    engine.declare({"w": 3})
    engine.advance(0.0)
    engine.advance(1e4)
    done_s = float(engine.latencies_s.max())
    assert done_s == pytest.approx(where.size / curve.capacity_per_s / 3, abs=curve.seconds(16))
    fluid = where.size / curve.capacity_per_s * 2.0 / 3600
    assert engine.cost(0.0, done_s) == pytest.approx(fluid, rel=1e-3)
