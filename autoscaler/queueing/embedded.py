"""The chain behind constant service and bulk service: X' = max(X - B, 0) + Poisson(load of what is served), exactly.

From X = k up to B the next state is a Poisson count with a mean of its own; from above, X - B plus a Poisson count with
the mean of a full service. Far out its probabilities fall by a constant factor 1 / z from one to the next, z the root
above 1 of z^B = exp(load (z - 1)); so a finite system of equations with a geometric end is exact to machine precision
(H. C. Tijms, A First Course in Stochastic Models, 2003, section 9.6).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_BISECTIONS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Stationary:
    """P(X = k) for k = 0 to N, and the factor by which it goes on from there."""

    #: Shape (N + 1,).
    probabilities: Floats
    decay: float

    def upto(self, most: int) -> Floats:
        """P(X = k) for k = 0 to `most`, shape (most + 1,)."""
        more = max(0, most + 1 - self.probabilities.size)
        tail = self.probabilities[-1] * self.decay ** np.arange(1, more + 1)
        return np.concatenate((self.probabilities, tail))[: most + 1]

    def negligible_beyond(self, part: float) -> int:
        """A k above which less than `part` of the probability lies."""
        rest = float(self.probabilities[-1]) * self.decay / (1 - self.decay)
        last = self.probabilities.size - 1
        return last if rest <= part else last + math.ceil(math.log(part / rest) / math.log(self.decay))


@functools.lru_cache(maxsize=64)
def stationary(loads: tuple[float, ...]) -> Stationary:
    """The stationary distribution.

    Args:
        loads: Mean of the Poisson count from X = 0, 1, .. B; the last one is a full service's and below B.

    Raises:
        ValueError: the last load is not above 0 and below B: there is no stationary distribution.
    """
    batch, load = len(loads) - 1, loads[-1]
    if not 0 < load < batch:
        raise ValueError(f"load={load} must be above 0 and below {batch}")
    decay = 1 / _root(load, batch)
    size = 3 * batch + 60
    n = np.arange(size + 1)
    matrix = np.zeros((size + 1, size + 1))
    for k, mean in enumerate(loads):
        matrix[:, k] = stats.poisson.pmf(n, mean)
    full = stats.poisson.pmf(n, load)
    for k in range(batch + 1, size + 1):
        matrix[k - batch :, k] = full[: size + 1 - (k - batch)]
    for k in range(size + 1, size + batch + 1):
        # What is beyond the last state is the last one times a power of the factor.
        matrix[k - batch :, size] += decay ** (k - size) * full[: size + 1 - (k - batch)]
    system = matrix - np.eye(size + 1)
    # One equation follows from the others; in its place all probabilities sum to 1.
    system[0] = 1.0
    system[0, size] = 1 / (1 - decay)
    right = np.zeros(size + 1)
    right[0] = 1.0
    solved = np.maximum(0.0, np.linalg.solve(system, right))
    solved.setflags(write=False)
    return Stationary(solved, decay)


def _root(load: float, batch: int) -> float:
    """The root z > 1 of z^B = exp(load (z - 1)), by bisection."""

    def above(z: float) -> bool:
        return load * (z - 1) > batch * math.log(z)

    # Between the roots 1 and z the left side is the smaller one, by most at z = B / load.
    low, high = batch / load, 2 * batch / load
    while not above(high):
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if above(middle) else (middle, high)
    return high
