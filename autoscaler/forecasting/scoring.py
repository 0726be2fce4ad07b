"""Which method to believe, and how wide its band must be: by what came true."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Quantiles of the highest rate that are judged.
QUANTILES = np.array([0.5, 0.9, 0.99])
#: Bounds of the factor by which the spread is stretched: a calibration that runs away helps nobody.
_LEAST_STRETCH, _MOST_STRETCH = 0.6, 2.5
#: Weight of the assumed losses by state, in forecasts judged.
_ASSUMED = (4.0, 12.0)
#: Forecasts judged before a method may be taken for better than the first one: a minute of buckets. A new method is
#: right by chance for a few of them, and believing it moves a fleet under a load that has not changed.
_PROVEN = 12.0
#: About so many losses are in the discounted sums.
_MEMORY = 250
#: A loss counts as at most so many mean ones, once so many forecasts were judged.
_MOST_LOSS, _LEAST_JUDGED = 4.0, 24
#: Relative losses below this are no loss.
_TINY = 1e-6


def pinball(forecast: Floats, actual: Floats | float) -> Floats:
    """Pinball losses of forecast quantiles, summed over `QUANTILES` (last axis); `actual` in the same unit."""
    error = actual - forecast
    return np.asarray(np.maximum(QUANTILES * error, (QUANTILES - 1) * error).sum(axis=-1))


@dataclass(frozen=True, slots=True)
class Coverage:
    """Share of the highest rates that stayed within each forecast quantile, lately; what it should be is the key."""

    by_quantile: dict[float, float]
    #: Forecasts judged.
    judged: int


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Losses of the methods and the calibration of their combination."""

    #: Discounted sum of relative losses by state (0 = calm, 1 = not long after a jump) and method, shape (2, C).
    losses: Floats
    #: The same of the first method at the moments when the method had a forecast, to compare like with like.
    bases: Floats
    #: Factor on the deviation of paths from their mean.
    stretch: float
    #: Discounted coverage by quantile, shape (3,), and its weight.
    covered: Floats
    covered_weight: float
    count: int

    @classmethod
    def initial(cls, methods: int) -> Scores:
        """Nothing judged yet."""
        return cls(np.zeros((2, methods)), np.zeros((2, methods)), 1.0, np.zeros(QUANTILES.size), 0.0, 0)

    def judge(
        self,
        by_method: Floats,
        combined: Floats,
        *,
        actual: float,
        scale: float,
        state: int,
        kept: float,
        step: float,
    ) -> Scores:
        """After one forecast whose time has come.

        The stretch follows adaptive conformal inference (Gibbs and Candes, 2021): each miss of the 0.9 quantile widens
        a little, each hit narrows a ninth of that, so that in the long run one in ten misses, whatever the load does.

        Args:
            by_method: Quantiles by method, NaN where it had none, shape (C, 3).
            combined: Quantiles of the combination, shape (3,).
            actual: Highest rate that came.
            scale: Rate by which losses are divided.
            state: Of the moment of the forecast.
            kept: What is left of older losses.
            step: Of the calibration.
        """
        loss = pinball(by_method, actual) / scale
        if self.count >= _LEAST_JUDGED:
            # What nobody could foresee costs all methods the same, and much: it must not drown how they differ.
            loss = np.minimum(loss, _MOST_LOSS * self._typical())
        known = ~np.isnan(loss)
        losses, bases = self.losses.copy(), self.bases.copy()
        losses[state] = np.where(known, kept * losses[state] + np.where(known, loss, 0.0), losses[state])
        bases[state] = np.where(known, kept * bases[state] + loss[0], bases[state])
        inside = actual <= combined
        target = float(QUANTILES[1])
        stretch = self.stretch * math.exp(step * (target - float(inside[1])))
        return Scores(
            losses,
            bases,
            min(_MOST_STRETCH, max(_LEAST_STRETCH, stretch)),
            kept * self.covered + inside,
            kept * self.covered_weight + 1.0,
            self.count + 1,
        )

    def weights(self, state: int, able: NDArray[np.bool_], prior: Floats, sharpness: float) -> Floats:
        """Weight of each method, sum 1, shape (C,).

        A weight falls with the power `sharpness` of the loss relative to the first method's. Until losses are known in
        a state, those of the prior count: after a jump only the level is believed before the others have shown what
        they can. At once a method can only be found worse than the first; better, once `_PROVEN` forecasts were judged.

        Args:
            state: Of now.
            able: Which methods have a forecast now, shape (C,); the first always has.
            prior: Relative losses assumed before any is known, by state, shape (2, C).
            sharpness: The power.
        """
        typical = max(_TINY, self._typical())
        assumed = _ASSUMED[state] * typical
        relative = (self.losses[state] + assumed * prior[state]) / (self.bases[state] + assumed)
        relative = np.where(self.bases[state] < _PROVEN * typical, np.maximum(relative, 1.0), relative)
        weights = np.where(able, np.maximum(relative, _TINY) ** -sharpness, 0.0)
        return np.asarray(weights / weights.sum())

    def _typical(self) -> float:
        """About the mean loss of the first method."""
        return float(self.bases[:, 0].sum()) / max(1, min(self.count, _MEMORY))

    def coverage(self) -> Coverage | None:
        """Lately; `None` before the first forecast has come true."""
        if self.covered_weight <= 0:
            return None
        shares = (self.covered / self.covered_weight).tolist()
        return Coverage({float(q): round(share, 4) for q, share in zip(QUANTILES, shares, strict=True)}, self.count)
