"""Paths drawn from what followed when the load looked as it does now."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]

#: Kernel's width, in shares of the present scale, for drawing errors: what the load looked like matters little.
ERROR_WIDTH = 1.0
#: The same for drawing whole paths, where it matters all.
BURST_WIDTH = 0.25
#: Moments whose weight is spread over all past ones, alike or not: few that are alike say less than many that are not.
SPREAD = 20.0
#: Relative standard deviation of the assumed errors after one bucket; it grows with the root of the steps.
_PRIOR_SIGMA = 0.05
#: Assumed paths.
PRIORS = 16


@cache
def prior_errors(steps: int) -> Floats:
    """Relative errors assumed before any are known: random walks, symmetric, shape (PRIORS, steps)."""
    half = np.random.default_rng(1).normal(size=(PRIORS // 2, steps)).cumsum(axis=1) * _PRIOR_SIGMA
    both: Floats = np.concatenate((half, -half))
    both.flags.writeable = False
    return both


@cache
def recency(count: int, halvings: float) -> Floats:
    """Weights of past moments by age, newest last, shape (count,); `halvings` in the time between two."""
    weights: Floats = np.exp2(-halvings * np.arange(count)[::-1].astype(np.float64))
    weights.flags.writeable = False
    return weights


def distances(past: Floats, now: Floats) -> Floats:
    """Squared distances between past looks, shape (n, f), and the present one, shape (f,).

    Looks are square roots of rates, in which Poisson noise is as large at all rates.
    """
    apart = past - now
    return np.asarray(np.einsum("ij,ij->i", apart, apart))


def alike(distance: Floats, now: Floats, width: float, noise: float) -> Floats:
    """Gaussian kernel of squared distances, shape (n,).

    Args:
        distance: Of past looks.
        now: The present look.
        width: Share of the present scale that counts as alike.
        noise: Standard deviation of a look by chance.
    """
    scale = noise + width / 2 * float(now.max())
    return np.asarray(np.exp(distance * (-0.5 / scale**2)))


def drawn(weights: Floats, count: int) -> Indices:
    """Indices drawn in proportion to weights, by even steps (systematic resampling): the same input, the same draw.

    Args:
        weights: Not negative, shape (n,), sum above 0.
        count: Draws.
    """
    sums = np.cumsum(weights)
    wanted = (np.arange(count) + 0.5) * (sums[-1] / count)
    return np.asarray(np.minimum(np.searchsorted(sums, wanted), weights.size - 1))


def allotted(weights: Floats, count: int) -> list[int]:
    """Paths for each method in proportion to its weight, by largest remainders; sums to `count`."""
    exact = weights / weights.sum() * count
    whole = np.floor(exact).astype(int)
    rest = np.argsort(whole - exact, kind="stable")[: count - int(whole.sum())]
    whole[rest] += 1
    return [int(number) for number in whole]
