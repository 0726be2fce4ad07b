"""What the rate is now: constant, on a ramp, or after a step, told apart from Poisson noise.

A trailing mean follows a step too late and a short one is noise. So three models are fitted to the newest one-second
counts
and the simplest that chance cannot beat is believed:

- constant: gain 0;
- ramp: least-squares line, gain = slope^2 / var(slope) (chi-squared, 1 degree of freedom);
- step after second k: gain = twice the Poisson log-likelihood ratio of two means against one, less 2 ln n for the
choice;
- ramp, then a step: where a ramp was found, the same with a line before k, since a line through both would overshoot.

Gains are divided by the index of dispersion D of the counts, so that bursty arrivals need a stronger change. A fourfold
step at 25 records a second is seen in the first full second after it.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Median of the chi-squared distribution with 1 degree of freedom.
_MEDIAN_CHI2 = 0.4549
#: Fewest counts among which a change is looked for.
_LEAST_COUNTS = 5
#: A false ramp does less harm than a false step and a true one takes longer to show, so it may be this much likelier by
#: chance.
_RAMP_LENIENCE = 1000.0
#: Trailing windows, in seconds, whose rate the forecast may not contradict.
_FLOOR_WINDOWS_S = (1, 2, 3, 5, 10)
#: Standard deviations below a window's count that its true mean is certain to exceed.
_FLOOR_SIGMAS = 3.0


class Shape(enum.StrEnum):
    """What the newest counts look like."""

    CONSTANT = "constant"
    RAMP = "ramp"
    STEP = "step"


@dataclass(frozen=True, slots=True)
class Level:
    """The rate at the newest second."""

    shape: Shape
    per_s: float
    #: Change, records a second per second; 0 unless a ramp.
    slope_per_s2: float
    #: Standard deviation of `per_s`.
    sigma_per_s: float
    #: Index of dispersion, at least 1.
    dispersion: float


def dispersion(counts: Floats) -> float:
    """Index of dispersion of counts around a mean that may drift or jump; at least 1.

    Each difference of neighbours, squared over their sum, is D times a chi-squared with 1 degree of freedom; the median
    over all is blind to the few differences that a step makes.
    """
    if counts.size < _LEAST_COUNTS:
        return 1.0
    differences = np.diff(counts)
    ratios = differences**2 / np.maximum(counts[1:] + counts[:-1], 1.0)
    found = float(np.median(ratios)) / _MEDIAN_CHI2
    # The median of n such ratios strays by about 1.9 / sqrt(n): what is within twice that of 1 is Poisson.
    return found if found > 1 + 3.8 / math.sqrt(counts.size) else 1.0


def level(counts: Floats, significance: float, spread: float) -> Level:
    """Rate at the end of `counts`.

    Args:
        counts: Arrivals in successive seconds, newest last, all known; at least one.
        significance: Chance (0-1) of seeing a step where there is none.
        spread: Index of dispersion of such counts.
    """
    n = counts.size
    mean = float(counts.mean())
    flat = Level(Shape.CONSTANT, mean, 0.0, math.sqrt(max(mean, 1 / n) * spread / n), spread)
    if n < _LEAST_COUNTS or mean <= 0:
        return flat
    cut, step_gain = _best_step(counts, spread)
    slope, sigma, ramp_gain = _line(counts, spread)
    least_gain = -2 * math.log(significance)
    if step_gain > least_gain and step_gain >= ramp_gain:
        return _after_step(counts[cut:], spread)
    if ramp_gain <= -2 * math.log(min(0.5, significance * _RAMP_LENIENCE)):
        return flat
    broken = _step_after_ramp(counts, least_gain * spread)
    if broken is not None:
        return _after_step(counts[broken:], spread)
    # The line's end lies half a window, less half a second, beyond its middle.
    reach = (n - 1) / 2
    per_s = max(0.0, mean + slope * reach)
    return Level(Shape.RAMP, per_s, slope, math.hypot(flat.sigma_per_s, sigma * reach), spread)


def floor_per_s(counts: Floats, spread: float) -> float:
    """Rate that is arriving now beyond doubt: the highest lower bound over trailing windows of 1 to 10 s."""
    floor = 0.0
    for window in _FLOOR_WINDOWS_S:
        if window <= counts.size:
            arrived = float(counts[-window:].sum())
            floor = max(floor, (arrived - _FLOOR_SIGMAS * math.sqrt(arrived * spread)) / window)
    return floor


def _after_step(counts: Floats, spread: float) -> Level:
    per_s = float(counts.mean())
    return Level(Shape.STEP, per_s, 0.0, math.sqrt(max(per_s, 1.0) * spread / counts.size), spread)


def _best_step(counts: Floats, spread: float) -> tuple[int, float]:
    """Second after which a step fits best, and its gain; the gain is negative where nothing is gained."""
    n = counts.size
    total = np.cumsum(counts)
    k = np.arange(1, n)
    before, after = total[:-1], total[-1] - total[:-1]
    gains = 2 * (_likelihood(before, k) + _likelihood(after, n - k) - _likelihood(total[-1:], np.array([n]))) / spread
    best = int(np.argmax(gains))
    return best + 1, float(gains[best]) - 2 * math.log(n)


def _step_after_ramp(counts: Floats, least_gain: float) -> int | None:
    """Second after which a level goes better with a line before than the line goes with all; `None` = there is none."""
    n = counts.size
    whole = _line_likelihood(counts, n)
    gains = np.full(n, -np.inf)
    for cut in range(_LEAST_COUNTS, n):
        after = counts[cut:]
        mean = max(float(after.mean()), 1e-12)
        level_likelihood = float(after.sum()) * math.log(mean) - mean * after.size
        gains[cut] = 2 * (_line_likelihood(counts, cut) + level_likelihood - whole)
    best = int(np.argmax(gains))
    return best if gains[best] > least_gain + 2 * math.log(n) else None


def _line_likelihood(counts: Floats, first: int) -> float:
    """Poisson log-likelihood of the `first` counts at their least-squares line: sum of c ln(rate) - rate."""
    head = counts[:first]
    t = np.arange(first) - (first - 1) / 2
    rate = np.maximum(head.mean() + t * float((t * head).sum()) / float((t * t).sum()), 0.1)
    return float((head * np.log(rate) - rate).sum())


def _likelihood(arrivals: Floats, seconds: NDArray[np.int64]) -> Floats:
    """Poisson log-likelihood at its best mean, without the terms that all models share: S ln(S / n)."""
    safe = np.maximum(arrivals, 1e-12)
    return np.where(arrivals > 0, arrivals * np.log(safe / seconds), 0.0)


def _line(counts: Floats, spread: float) -> tuple[float, float, float]:
    """Slope, its standard deviation and the gain over a constant."""
    t = np.arange(counts.size) - (counts.size - 1) / 2
    squares = float((t * t).sum())
    slope = float((t * counts).sum()) / squares
    variance = float(counts.mean()) * spread / squares
    return slope, math.sqrt(variance), slope * slope / variance
