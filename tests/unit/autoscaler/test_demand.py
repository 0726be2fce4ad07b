"""Rates of periods, bytes of topics, partitions and the limits of growth: figures that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.planning import demand
from autoscaler.planning.fleet_program import Kind
from autoscaler.planning.workload import Workload

CPU = Kind("cpu", 1.0, 10.0, 0, 64, 10.0)


def _load(counts: np.ndarray, width_s: float = 1.0, known: np.ndarray | None = None) -> Workload:
    return Workload(width_s, counts.astype(np.float64), np.ones(len(counts), dtype=bool) if known is None else known)


def test_a_period_is_sized_for_its_busiest_minute() -> None:
    """5/s with one minute of 20/s in the second of three periods of 5 minutes."""
    counts = np.full(900, 5.0)
    counts[400:460] = 20.0
    assert demand.period_rates(_load(counts), 300).tolist() == [5.0, 20.0, 5.0]


def test_a_period_that_was_not_recorded_is_not_known() -> None:
    """Less than half of it was recorded; a hole in another one does not lower its rate."""
    known = np.ones(900, dtype=bool)
    known[310:600], known[10:20] = False, False
    rates = demand.period_rates(_load(np.where(known, 5.0, 0.0), known=known), 300)
    assert np.isnan(rates[1])
    assert rates[[0, 2]].tolist() == [5.0, 5.0]


def test_more_users_share_what_lasts_and_not_the_second() -> None:
    """20 times as many: the mean is exact, chance from second to second averages out, a lasting step stays."""
    rng = np.random.default_rng(4)
    counts = np.concatenate((rng.poisson(5, 600), rng.poisson(10, 600)))
    found = demand.scaled(_load(counts), 20)
    assert found.counts.mean() == pytest.approx(20 * counts.mean(), rel=0.01)
    assert found.counts[:500].std() < 0.25 * 20 * counts[:500].std()
    assert found.counts[700:].mean() / found.counts[:500].mean() == pytest.approx(2, rel=0.05)
    # Fewer users are thinned, whose expectation is a plain multiple.
    assert np.array_equal(demand.scaled(_load(counts), 0.5).counts, counts * 0.5)


def test_dispersion_thins_and_averages_out() -> None:
    """Half of a stream of D = 5 has 1 + 0.5 x 4 = 3; twenty such streams together are nearly Poisson."""
    assert demand.dispersion(5.0, 1.0, 0.5) == 3.0
    assert demand.dispersion(5.0, 1.0, 20.0) == 1.0
    assert demand.dispersion(None, 1.0, 1.0) == 1.0
    # Wide bins hide it: what services show.
    assert demand.dispersion(500.0, 600.0, 1.0) == 6.25


def test_topics_cost_what_the_arithmetic_says() -> None:
    """100/s of 930 + 430 bytes (70 each on top), 3 copies, a day: 150 kB/s written, 300 copied, 150 read; 38.9 GB."""
    bill = demand.topic_bill(
        kept_per_s=100, peak_per_s=100, request_bytes=930, result_bytes=430, retention_hours=24, copies=3, brokers=3,
        readers=1,
    )  # fmt: skip
    assert bill.written_per_s == 150_000
    assert bill.copied_per_s == 300_000
    assert bill.read_per_s == 150_000
    assert bill.storage_bytes == 150_000 * 86_400 * 3
    assert bill.broker_per_s == 150_000


def test_partitions_leave_room_and_waste_little() -> None:
    """80/s at 10/s each needs 8 workers: 16 partitions, 2 each. At 70/s, 7 workers of 16/7 = 2.29 lose an eighth."""
    assert demand.choose_partitions(80, [CPU], 2.0) == 16
    lossy = demand.choose_partitions(70, [CPU], 2.0)
    assert lossy is not None
    held = lossy * 10 // 70
    assert held >= 0.9 * lossy * 10 / 70
    assert lossy >= 2 * -(-lossy // held)
    assert demand.choose_partitions(1e6, [CPU], 2.0) is None


def test_the_first_limit_comes_first() -> None:
    """8 workers of 10/s hold 80/s: twice 40. 64 partitions alone hold 640: 16 times. The disk is not known."""
    bill = demand.topic_bill(
        kept_per_s=40, peak_per_s=40, request_bytes=930, result_bytes=430, retention_hours=24, copies=1, brokers=1,
        readers=1,
    )  # fmt: skip
    few = Kind("cpu", 1.0, 10.0, 0, 8, 10.0)
    found = demand.limits(
        peak_per_s=40, kinds=[few], partitions=64, bill=bill, broker_bytes_per_s=6e6, disk_bytes=None, brokers=1
    )
    assert [limit.name for limit in found] == ["workers", "partitions", "broker network", "broker disk"]
    assert found[0].times == pytest.approx(2.0, rel=0.01)
    assert found[1].times == 16.0
    assert found[2].times == pytest.approx(100.0)
    assert found[3].times is None
    # Where workers are not the limit, partitions are.
    many = demand.limits(
        peak_per_s=40, kinds=[CPU], partitions=8, bill=bill, broker_bytes_per_s=6e6, disk_bytes=1e9, brokers=1
    )
    assert many[0].name == "broker disk"
    assert "workers" not in {limit.name for limit in many}
