"""Throughput over workers: linear, Amdahl's law, the Universal Scalability Law; fitted and compared.

Symbols: N = workers, X(N) = throughput, gamma = that of one, sigma = share of the work that cannot be shared
(contention), kappa = cost of each pair of workers agreeing (coherence).

    linear   X = gamma N
    Amdahl   X = gamma N / (1 + sigma (N - 1))                          at most gamma / sigma
    USL      X = gamma N / (1 + sigma (N - 1) + kappa N (N - 1))        most at N = sqrt((1 - sigma) / kappa)

Sources: G. M. Amdahl (1967); N. J. Gunther, A Simple Capacity Model of Massively Parallel Transaction Systems (1993).
Which one is told by Akaike's criterion for small samples: a parameter must earn its place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import least_squares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LINEAR, AMDAHL, USL = "linear", "Amdahl", "USL"
#: Least relative error believed of a throughput.
LEAST_ERROR = 0.005
#: Coherence below which there is none: the peak would lie beyond 30,000 workers.
NEGLIGIBLE = 1e-9


@dataclass(frozen=True, slots=True)
class Law:
    """One law, fitted."""

    name: str
    #: Throughput of one worker, a second.
    gamma: float
    sigma: float
    kappa: float
    #: Akaike's criterion, corrected for small samples; the lowest is the best. Infinite = too few points to tell.
    aicc: float
    #: Largest relative deviation from a measured point.
    worst: float

    def throughput(self, workers: float) -> float:
        """X(N), a second."""
        return float(_usl(np.array([float(workers)]), self.gamma, self.sigma, self.kappa)[0])

    def efficiency(self, workers: float) -> float:
        """X(N) over N times that of one worker: 1 = linear."""
        return self.throughput(workers) / (self.gamma * workers)

    @property
    def best_workers(self) -> float | None:
        """Workers beyond which more make it slower; `None` = there are none."""
        if self.kappa <= NEGLIGIBLE or self.sigma >= 1:
            return None
        return math.sqrt((1 - self.sigma) / self.kappa)


def fit(workers: Sequence[int], throughput: Sequence[float], errors: Sequence[float] | None = None) -> tuple[Law, ...]:
    """Fit all three, the best first.

    Args:
        workers: counts, (n,), at least three different ones.
        throughput: measured with them, a second, (n,).
        errors: their standard errors; equal relative ones where left out.

    Raises:
        ValueError: too few points, or a throughput that is not above 0.
    """
    counts, rates = np.asarray(workers, dtype=np.float64), np.asarray(throughput, dtype=np.float64)
    if len(set(workers)) < 3 or len(counts) != len(rates) or (rates <= 0).any():  # noqa: PLR2004 - a line has one form
        raise ValueError(
            f"{len(set(workers))} counts of workers: three or more are needed, each with a throughput above 0"
        )
    scale = LEAST_ERROR * rates if errors is None else np.maximum(np.asarray(errors), LEAST_ERROR * rates)
    first = float((rates / counts).max())
    laws = []
    for name, free in ((LINEAR, 1), (AMDAHL, 2), (USL, 3)):

        def residuals(given: Floats) -> Floats:
            gamma, sigma, kappa = (*given, 0.0, 0.0)[:3]
            return (_usl(counts, gamma, sigma, kappa) - rates) / scale

        start = np.array([first, 0.01, 0.0001])[:free]
        bounds = (np.array([1e-9, 0.0, 0.0])[:free], np.array([np.inf, 1.0, 1.0])[:free])
        # Steps in proportion: kappa is a thousandth of sigma, which is a thousandth of gamma.
        found = least_squares(residuals, start, bounds=bounds, x_scale=np.array([first, 0.1, 0.01])[:free])
        gamma, sigma, kappa = (*found.x.tolist(), 0.0, 0.0)[:3]
        off = np.abs(_usl(counts, gamma, sigma, kappa) / rates - 1)
        laws.append(
            Law(name, gamma, sigma, kappa, _aicc(float((found.fun**2).sum()), len(counts), free), float(off.max()))
        )
    return tuple(sorted(laws, key=lambda law: law.aicc))


def _usl(workers: Floats, gamma: float, sigma: float, kappa: float) -> Floats:
    return gamma * workers / (1 + sigma * (workers - 1) + kappa * workers * (workers - 1))


def _aicc(squares: float, points: int, free: int) -> float:
    """For errors whose size is known only up to a factor: n ln(S / n) + 2 p + 2 p (p + 1) / (n - p - 1), p with it."""
    parameters = free + 1
    if points <= parameters + 1:
        return math.inf
    return (
        points * math.log(max(squares, 1e-12) / points)
        + 2 * parameters
        + 2 * parameters * (parameters + 1) / (points - parameters - 1)
    )
