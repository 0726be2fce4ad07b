"""The fit of a + b*n against curves whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.model import Objective, ServiceCurve
from autoscaler.planning.service_fit import (
    SizeTimes,
    best_batch,
    fit,
    fit_where_it_holds,
    levels,
    median_interval,
    size_times,
)
from autoscaler.queueing.batch import highest_rate

SIZES = [(1, False), (2, False), (3, True), (4, False), (6, True), (8, False), (12, True), (16, False), (24, True),
         (32, False), (48, True), (64, False)]  # fmt: skip


def _measured(seconds: dict[int, float], noise: float = 0.0, seed: int = 0) -> list[SizeTimes]:
    rng = np.random.default_rng(seed)
    out = []
    for rows, held_out in SIZES:
        rounds = [seconds[rows] * (1 + noise * rng.standard_normal(20)) for _ in range(12)]
        out.append(size_times(rows, rounds, held_out=held_out))
    return out


def _line(a_s: float, b_s: float) -> dict[int, float]:
    return {rows: a_s + b_s * rows for rows, _ in SIZES}


def test_a_line_is_found_with_its_interval() -> None:
    """Noise of 5 % a batch, 240 batches a size: coefficients within 3 %, inside their own 95 % intervals."""
    found = fit(_measured(_line(0.004, 0.0005), noise=0.05))
    assert found.a_s == pytest.approx(0.004, rel=0.03)
    assert found.b_s == pytest.approx(0.0005, rel=0.03)
    assert found.a_low < 0.004 < found.a_high
    assert found.b_low < 0.0005 < found.b_high
    assert found.holds
    assert found.holds_to == 64
    assert found.knee_rows == pytest.approx(9 * 0.004 / 0.0005, rel=0.06)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """200 fits of noisy lines: the 95 % interval of b misses in 5 % of them; 12 % is four standard errors above."""
    missed = 0
    for seed in range(200):
        found = fit(_measured(_line(0.004, 0.0005), noise=0.2, seed=seed))
        missed += not found.b_low <= 0.0005 <= found.b_high
    assert missed <= 24


def test_an_interval_of_a_median_holds_it_whatever_the_distribution() -> None:
    """Exponential values, whose median is ln 2: 1,000 samples of 25; missed in at most 5 %, within three errors."""
    rng = np.random.default_rng(3)
    intervals = [median_interval(sample) for sample in rng.exponential(1.0, (1000, 25))]
    missed = sum(not low <= np.log(2) <= high for low, high in intervals)
    # The ranks of 25 values allow 4.3 %; the standard error of 1,000 cases is 0.64 points.
    assert 0.043 - 0.019 <= missed / 1000 <= 0.043 + 0.019
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


def test_a_machine_that_slows_down_as_a_whole_does_not_bend_the_line() -> None:
    """Six rounds of twelve take twice as long as the others, all sizes alike: levelled, each size is known well.

    A median of the times as they come lies anywhere between the two kinds, by chance.
    """
    rng = np.random.default_rng(1)
    slow = np.where(rng.permutation(12) < 6, 2.0, 1.0)
    line = _line(0.004, 0.0005)
    times = {
        rows: [(line[rows] * factor * (1 + 0.02 * rng.standard_normal(2))).tolist() for factor in slow] for rows in line
    }
    medians = np.array([[np.median(times[rows][number]) for rows in line] for number in range(12)])
    level = levels(medians)
    assert np.median(level, axis=0) == pytest.approx(1.0)
    assert level[slow > 1].mean() / level[slow < 2].mean() == pytest.approx(2.0, rel=0.02)
    found = [
        size_times(rows, times[rows], held_out=held, level=level[:, place]) for place, (rows, held) in enumerate(SIZES)
    ]
    assert fit(found).worst_held_out == pytest.approx(0.0, abs=0.03)
    assert max((size.high - size.low) / size.seconds for size in found) < 0.1
    plain = [size_times(rows, times[rows], held_out=held) for rows, held in SIZES]
    assert min((size.high - size.low) / size.seconds for size in plain) > 0.5


def test_levelled_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Five sizes, rounds that differ by 10 %, batches by 5 %: 100 times 60 rounds, against the mean scale.

    With each size in its own level 26 % of the intervals missed. 5 % are allowed; of 500, not all independent, 9 % is
    four standard errors above.
    """
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(100):
        level = np.exp(0.10 * rng.standard_normal((60, 1)))
        medians = level * np.exp(0.05 * rng.standard_normal((60, 5)))
        levelled = medians / levels(medians)
        # The scale that all sizes share is the machine's usual level, which nobody knows: taken out.
        levelled = levelled / np.exp(np.log(np.median(levelled, axis=0)).mean())
        missed += sum(not low <= 1.0 <= high for low, high in map(median_interval, levelled.T))
    assert missed / 500 <= 0.09
    assert levels(np.array([[1.0], [2.0]])).tolist() == [[1.0], [1.0]]


def test_one_disturbed_size_does_not_bend_the_line() -> None:
    """The size of 8 rows took three times as long; least squares would be off by a third at 8 and 16 rows."""
    seconds = _line(0.004, 0.0005)
    seconds[8] *= 3
    found = fit(_measured(seconds))
    assert found.a_s == pytest.approx(0.004, rel=0.1)
    assert found.seconds(64) == pytest.approx(0.036, rel=0.05)


def test_where_the_line_breaks_it_is_not_used() -> None:
    """Beyond 16 rows each row costs three times as much: the fit says so, and holds up to 16."""
    seconds = {rows: 0.004 + 0.0005 * min(rows, 16) + 0.0015 * max(0, rows - 16) for rows, _ in SIZES}
    whole = fit(_measured(seconds))
    assert not whole.holds
    found = fit_where_it_holds(_measured(seconds))
    assert found.holds
    assert 16 <= found.holds_to <= 32
    assert found.a_s == pytest.approx(0.004, rel=0.1)


def test_no_coefficient_is_negative() -> None:
    """Seconds that fall per row towards a step have no negative fixed cost."""
    found = fit(_measured({rows: 0.001 * rows**1.05 for rows, _ in SIZES}))
    assert found.a_s >= 0
    assert found.b_s > 0


def test_two_sizes_are_too_few() -> None:
    """Two sizes leave no residual to judge by."""
    with pytest.raises(ValueError, match="three or more"):
        fit(_measured(_line(1, 1))[:2])


def test_the_best_batch_takes_the_highest_rate_in_time() -> None:
    """No other size takes more than 1 % more; a tight objective asks for a small batch, an impossible one for none."""
    found = fit(_measured(_line(0.010, 0.001)))
    sizes = [rows for rows, held_out in SIZES if not held_out]
    loose, tight = Objective(1.0, 0.99), Objective(0.05, 0.99)
    for objective in (loose, tight):
        best = best_batch(found, sizes, objective)
        assert best is not None
        rates = [highest_rate(ServiceCurve(found.a_s, found.b_s, size), objective) for size in sizes]
        assert best.rate_per_s >= 0.99 * max(rates)
    small = best_batch(found, sizes, tight)
    large = best_batch(found, sizes, loose)
    assert small is not None
    assert large is not None
    assert small.max_batch < large.max_batch
    assert best_batch(found, sizes, Objective(0.015, 0.99)) is None
