"""The service curve from measured batches: `S(n) = a + b n` with its errors, where it holds, and what it is good for.

Symbols: n = rows of a batch, S(n) = its seconds, a = seconds a batch, b = seconds a row, B = largest batch.

The fit is weighted least squares on *relative* deviations, so that one row and 256 rows count alike: a plan needs both
ends, the one for latency and the other for throughput. Huber's weights (P. J. Huber, 1964) keep one disturbed size from
bending the line. Errors come from the residuals (chi-squared by degree of freedom), with Student's t.

- Limit of throughput: n / S(n) -> 1 / b. Half of it is reached at n = a / b, nine tenths at n = 9 a / b: the knee.
- Best batch for an objective: the B whose worker takes the highest rate in time (`queueing.batch.highest_rate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from autoscaler.model import ServiceCurve
from autoscaler.queueing.batch import highest_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from autoscaler.model import Objective

    Floats = NDArray[np.float64]

#: Relative error below which no size is believed to be known: clocks, caches and padding.
LEAST_ERROR = 0.01
#: Huber's threshold in standard deviations: 95 % efficient for normal errors.
HUBER = 1.345
#: Rounds of reweighting; the weights stand still long before.
ROUNDS = 20
#: Relative error that the fit may have on sizes it has not seen.
TOLERANCE = 0.10
#: Share of the limit 1 / b that is reached at the knee.
KNEE = 0.9
#: Passes that the machine's level is looked for again: it stands still after two or three.
PASSES = 5
#: Fewest values whose median has a 95 % interval: of five, all lie on one side of it in 2 x 2^-5 > 5 % of cases.
FEWEST = 6


@dataclass(frozen=True, slots=True)
class SizeTimes:
    """What was measured of one batch size."""

    rows: int
    #: Median over the rounds at the machine's usual level, with its 95 % interval.
    seconds: float
    low: float
    high: float
    mean: float
    p99: float
    batches: int
    #: Whether the fit may not see it, and is checked with it.
    held_out: bool

    @property
    def rows_per_s(self) -> float:
        """Rows a second back to back: closed loop, by the mean, since every batch takes its time."""
        return self.rows / self.mean


@dataclass(frozen=True, slots=True)
class Fit:
    """The line with its errors."""

    a_s: float
    b_s: float
    #: 95 % intervals.
    a_low: float
    a_high: float
    b_low: float
    b_high: float
    #: Largest relative deviation on sizes that were fitted, and on sizes that were held out (`None` = there were none).
    worst_fitted: float
    worst_held_out: float | None
    #: Largest size up to which each held-out size is foretold within `TOLERANCE`; the curve is used up to here.
    holds_to: int

    def seconds(self, rows: float) -> float:
        """Foretold seconds of a batch."""
        return self.a_s + self.b_s * rows

    @property
    def holds(self) -> bool:
        """Whether every held-out size is foretold within `TOLERANCE`."""
        return self.worst_held_out is not None and self.worst_held_out <= TOLERANCE

    @property
    def knee_rows(self) -> float:
        """Rows at which `KNEE` of the limit 1 / b is reached."""
        return KNEE / (1 - KNEE) * self.a_s / self.b_s if self.b_s > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class Best:
    """The largest batch to allow, for an objective."""

    max_batch: int
    #: Highest rate of one worker that meets the objective with it, records a second.
    rate_per_s: float


def median_interval(values: Sequence[float] | Floats) -> tuple[float, float]:
    """The 95 % interval of a median, whatever the distribution: the values of ranks r and n + 1 - r (from 1).

    r is the largest with P(fewer than r of n fall below the median) <= 2.5 %, binomial with 1/2 (H. A. David, H. N.
    Nagaraja, Order Statistics, 2003, section 7.1). Fewer than `FEWEST` values do not allow it: their extremes are told.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if len(ordered) < FEWEST:
        return float(ordered[0]), float(ordered[-1])
    rank = int(stats.binom.ppf(0.025, len(ordered), 0.5))
    return float(ordered[rank - 1]), float(ordered[-rank])


def levels(medians: Floats) -> Floats:
    """How slow the machine was in each round against its usual self, by the *other* sizes.

    A round's level is the median over the sizes of time / usual time of the size, usual times are medians of levelled
    times; found by turns. What slows a whole round down is then no error of the line, which is about sizes. A size has
    no say in its own level: where it is the median of an odd number it would always be at its usual time.

    Args:
        medians: seconds, (rounds, sizes), positive.

    Returns:
        factors, (rounds, sizes); the median of each column is 1.
    """
    sizes = medians.shape[1]
    if sizes == 1:
        return np.ones_like(medians)
    return np.column_stack([_level(np.delete(medians, size, axis=1)) for size in range(sizes)])


def _level(medians: Floats) -> Floats:
    """The same by all of these sizes, (rounds,)."""
    found = np.ones(len(medians))
    for _ in range(PASSES):
        usual = np.median(medians / found[:, None], axis=0)
        found = np.median(medians / usual, axis=1)
        found = found / np.median(found)
    return found


def known_within(medians: Floats) -> float:
    """Relative half width of the interval of the least known size, from seconds, (rounds, sizes)."""
    levelled = medians / levels(medians)
    widths = [(high - low) / 2 for low, high in map(median_interval, levelled.T)]
    return float(np.max(widths / np.median(levelled, axis=0)))


def size_times(
    rows: int, rounds: Sequence[Sequence[float]], *, held_out: bool, level: Floats | None = None
) -> SizeTimes:
    """Statistics of one size.

    Args:
        rows: of the batch.
        rounds: seconds of each batch, by round. Rounds are apart in time, so their medians are nearly independent;
            batches within one are not.
        held_out: see `SizeTimes`.
        level: of the machine by round for this size, (rounds,), see `levels`; `None` = always the same.
    """
    every = np.concatenate([np.asarray(times, dtype=np.float64) for times in rounds])
    medians = np.array([np.median(times) for times in rounds]) / (1.0 if level is None else level)
    low, high = median_interval(medians)
    return SizeTimes(
        rows, float(np.median(medians)), low, high, float(every.mean()), float(np.percentile(every, 99)), len(every),
        held_out,
    )  # fmt: skip


def fit(measured: Sequence[SizeTimes]) -> Fit:
    """Fit the sizes that are not held out, and check it with those that are.

    Raises:
        ValueError: fewer than three sizes to fit: two leave no residual to judge by.
    """
    used = [size for size in measured if not size.held_out]
    if len(used) < 3:  # noqa: PLR2004 - see above
        raise ValueError(f"{len(used)} batch sizes: three or more are needed; allow larger batches")
    rows = np.array([size.rows for size in used], dtype=np.float64)
    seconds = np.array([size.seconds for size in used])
    # Half of a 95 % interval is about two standard errors.
    error = np.maximum([(size.high - size.low) / 4 for size in used], LEAST_ERROR * seconds)
    design = np.column_stack([np.ones_like(rows), rows])
    weights = np.ones_like(rows)
    solution = np.zeros(2)
    for _ in range(ROUNDS):
        scale = np.sqrt(weights) / error
        solution = _non_negative(design * scale[:, None], seconds * scale)
        deviation = np.abs(seconds - design @ solution) / error
        spread = max(float(np.median(deviation)) / 0.6745, 1e-9)
        weights = np.minimum(1.0, HUBER / np.maximum(deviation / spread, 1e-9))
    scale = np.sqrt(weights) / error
    left = len(rows) - 2
    chi = float((((seconds - design @ solution) * scale) ** 2).sum()) / left
    covariance = np.linalg.inv((design * scale[:, None]).T @ (design * scale[:, None])) * max(chi, 1.0)
    half = stats.t.ppf(0.975, left) * np.sqrt(np.diag(covariance))
    a, b = (float(value) for value in solution)
    off = {size.rows: abs(a + b * size.rows - size.seconds) / size.seconds for size in measured}
    held = [size.rows for size in measured if size.held_out]
    bad = [size for size in sorted(held) if off[size] > TOLERANCE]
    largest = max(size.rows for size in measured)
    return Fit(
        a_s=a,
        b_s=b,
        a_low=max(0.0, a - half[0]),
        a_high=float(a + half[0]),
        b_low=max(0.0, b - half[1]),
        b_high=float(b + half[1]),
        worst_fitted=max(off[size.rows] for size in used),
        worst_held_out=max((off[size] for size in held), default=None),
        holds_to=max((size.rows for size in measured if size.rows < bad[0]), default=1) if bad else largest,
    )


def fit_where_it_holds(measured: Sequence[SizeTimes]) -> Fit:
    """The fit over the largest range, from one row on, in which held-out sizes are foretold within `TOLERANCE`.

    Beyond a cache's size each row may cost more: a line through all of it would be wrong everywhere. Sizes beyond the
    range are left out, and the curve is not used there.
    """
    kept = sorted(measured, key=lambda size: size.rows)
    found = fit(kept)
    while not found.holds and sum(not size.held_out for size in kept) > 3:  # noqa: PLR2004 - what a fit needs
        kept = kept[:-1]
        shorter = fit(kept)
        if shorter.holds:
            return shorter
    return found


def best_batch(found: Fit, sizes: Sequence[int], objective: Objective) -> Best | None:
    """The largest batch to allow; `None` = not even an idle worker with one row at a time is fast enough.

    Of those that take nearly (1 %) the highest rate the smallest is chosen: it answers sooner and needs less memory.
    """
    rates = {
        size: highest_rate(ServiceCurve(found.a_s, found.b_s, size), objective)
        for size in sizes
        if size <= found.holds_to and found.seconds(size) > 0
    }
    top = max(rates.values(), default=0.0)
    if top <= 0:
        return None
    size = min(size for size, rate in rates.items() if rate >= 0.99 * top)
    return Best(size, rates[size])


def _non_negative(design: Floats, target: Floats) -> Floats:
    """Least squares with both coefficients at least 0: no batch is free, and no row takes back time."""
    solution, *_ = np.linalg.lstsq(design, target, rcond=None)
    if (solution >= 0).all():
        return np.asarray(solution, dtype=np.float64)
    # With one at 0 the other is a regression through the origin.
    kept = 1 if solution[0] < 0 else 0
    only = float(design[:, kept] @ target / (design[:, kept] @ design[:, kept]))
    out = np.zeros(2)
    out[kept] = max(0.0, only)
    return out
