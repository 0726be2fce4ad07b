"""The scaling laws against throughput that follows one of them."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.planning.scaling_law import AMDAHL, LINEAR, USL, fit

COUNTS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]


def _noisy(truth: np.ndarray, seed: int) -> list[float]:
    """One per cent of noise."""
    return (truth * (1 + 0.01 * np.random.default_rng(seed).standard_normal(len(truth)))).tolist()


def test_each_law_is_recognised() -> None:
    """With 1 % of noise the criterion names the law that made the points; USL's two parameters share 25 %."""
    n = np.array(COUNTS, dtype=float)
    linear = fit(COUNTS, _noisy(100 * n, 1))
    assert linear[0].name == LINEAR
    assert linear[0].gamma == pytest.approx(100, rel=0.02)
    amdahl = fit(COUNTS, _noisy(100 * n / (1 + 0.05 * (n - 1)), 2))
    assert amdahl[0].name == AMDAHL
    assert amdahl[0].sigma == pytest.approx(0.05, rel=0.1)
    usl = fit(COUNTS, _noisy(100 * n / (1 + 0.02 * (n - 1) + 0.001 * n * (n - 1)), 3))
    assert usl[0].name == USL
    assert usl[0].sigma == pytest.approx(0.02, rel=0.25)
    assert usl[0].kappa == pytest.approx(0.001, rel=0.25)


def test_the_peak_is_where_more_workers_make_it_slower() -> None:
    """sqrt((1 - 0.02) / 0.001) = 31.3; there one more and one fewer do less."""
    n = np.array(COUNTS, dtype=float)
    law = fit(COUNTS, (100 * n / (1 + 0.02 * (n - 1) + 0.001 * n * (n - 1))).tolist())[0]
    assert law.best_workers == pytest.approx(31.3, rel=0.01)
    assert law.throughput(31) > max(law.throughput(25), law.throughput(38))
    assert law.efficiency(1) == pytest.approx(1)
    assert law.efficiency(16) == pytest.approx(1 / (1 + 0.02 * 15 + 0.001 * 16 * 15), rel=1e-3)


def test_too_few_points_tell_nothing() -> None:
    """Two counts of workers, or a throughput of nothing."""
    with pytest.raises(ValueError, match="three or more"):
        fit([1, 2], [1.0, 2.0])
    with pytest.raises(ValueError, match="above 0"):
        fit([1, 2, 3], [1.0, 0.0, 2.0])
