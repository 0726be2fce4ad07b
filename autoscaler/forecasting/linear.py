"""Forecasts that are linear in the newest buckets: a trend, a regression on nested means, and what statsmodels fits.

A method that is linear can be turned into a matrix once, and a tick costs one product. `K` buckets are looked at, `H`
are forecast; the newest bucket comes last.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Buckets looked at (K).
LAGS = 60
#: Buckets through which the trend's line is laid, the longest first.
_TREND_LENGTHS = (12, 6, 4)
#: What is left of a slope after each bucket: a trend does not go on for ever.
_DAMPING = 0.92
#: Nested means in buckets: the heterogeneous autoregression of Corsi (2009), a long memory with few coefficients.
_MEANS = (1, 2, 4, 8, 20, 60)
#: Features of the regression: those means, and the mean of the last hour or so.
FEATURES = len(_MEANS) + 1
#: Which of them a regression without data believes in: the mean of 4 buckets.
_BELIEVED = _MEANS.index(4)
#: Weight of that belief, in squared relative rates, and in shares of what was observed: the means are nearly the same,
#: so that noise alone would move their coefficients far apart.
_BELIEF, _RELATIVE_BELIEF = 0.2, 0.003
#: Observations after which the coefficients are solved for again: they drift slowly.
_SOLVED_EVERY = 6
#: What is left of an observation's weight after each bucket: half after half an hour at 5 s.
_KEPT = 0.998


@dataclass(frozen=True, slots=True)
class Linear:
    """Coefficients of a fit."""

    #: Weight of each of the K buckets in each of the H steps, shape (H, K).
    weights: Floats
    #: Records a second, shape (H,).
    constant: Floats

    def ahead(self, lags: Floats) -> Floats:
        """Forecast rates, shape (H,), from the newest K, shape (K,)."""
        return np.asarray(self.weights @ lags + self.constant)


@cache
def trend_matrix(length: int, steps: int) -> Floats:
    """Least-squares line through the newest `length` buckets, damped beyond the newest, shape (steps, length)."""
    t = np.arange(length) - (length - 1) / 2
    slope = t / (t * t).sum()
    reach = (length - 1) / 2 + np.cumsum(_DAMPING ** np.arange(1, steps + 1))
    matrix: Floats = 1 / length + reach[:, None] * slope[None, :]
    matrix.flags.writeable = False
    return matrix


def trend(lags: Floats, settled: int, steps: int) -> Floats | None:
    """A damped line through the newest buckets; `None` = the rate has changed too lately for a line.

    Args:
        lags: Newest buckets, shape (K,).
        settled: Buckets since the last change of the rate.
        steps: Buckets ahead (H).
    """
    for length in _TREND_LENGTHS:
        if settled >= length:
            return np.asarray(trend_matrix(length, steps) @ lags[-length:])
    return None


@cache
def _means_matrix() -> Floats:
    matrix = np.zeros((len(_MEANS), LAGS))
    for row, length in enumerate(_MEANS):
        matrix[row, -length:] = 1 / length
    matrix.flags.writeable = False
    return matrix


def features(lags: Floats, long_mean: float) -> Floats:
    """Nested means of the newest buckets and the long mean, shape (FEATURES,)."""
    return np.append(_means_matrix() @ lags, long_mean)


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """Least squares of each step ahead on the nested means, with forgetting; sums only, so it costs the same for ever.

    Each observation is weighted by one over its rate squared, so that errors are relative. Without data it forecasts
    the mean of the last 20 s; coefficients move away from that as observations ask for it (ridge regression).
    """

    #: Sum of x x', shape (F, F).
    squares: Floats
    #: Sum of x e', e being the error of the belief, shape (F, H).
    products: Floats
    #: Coefficients, shape (H, F).
    coefficients: Floats
    #: Observations since they were last solved for.
    waiting: int = 0

    @classmethod
    def initial(cls, steps: int) -> Regression:
        """Without data."""
        coefficients = np.zeros((steps, FEATURES))
        coefficients[:, _BELIEVED] = 1.0
        return cls(np.zeros((FEATURES, FEATURES)), np.zeros((FEATURES, steps)), coefficients)

    def learnt(self, x: Floats, ahead: Floats, scale: float) -> Regression:
        """After one observation.

        Args:
            x: Features at a time, shape (F,).
            ahead: What came in the steps after it, shape (H,).
            scale: Rate by which the errors are divided, above 0.
        """
        unit = x / scale
        squares = _KEPT * self.squares + np.multiply.outer(unit, unit)
        products = _KEPT * self.products + np.multiply.outer(unit, (ahead - x[_BELIEVED]) / scale)
        if self.waiting + 1 < _SOLVED_EVERY:
            return Regression(squares, products, self.coefficients, self.waiting + 1)
        ridge = (_BELIEF + _RELATIVE_BELIEF * float(squares.trace())) * np.eye(FEATURES)
        solved = np.linalg.solve(squares + ridge, products).T
        solved[:, _BELIEVED] += 1.0
        return Regression(squares, products, solved)
