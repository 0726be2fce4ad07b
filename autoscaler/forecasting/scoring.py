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
#: Weight of the assumed losses, in forecasts judged.
_PRIOR_LOSSES = 4.0
#: Relative losses below this are no loss.
_TINY = 1e-6


def pinball(forecast: Floats, actual: float) -> Floats:
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

    #: Discounted sum of relative losses by state (0 = calm, 1 = just after a change) and method, shape (2, C).
    losses: Floats
    #: Discounted number of them, shape (2, C).
    judged: Floats
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
        known = ~np.isnan(loss)
        losses, judged = self.losses.copy(), self.judged.copy()
        losses[state] = np.where(known, kept * losses[state] + np.where(known, loss, 0.0), losses[state])
        judged[state] = np.where(known, kept * judged[state] + 1.0, judged[state])
        inside = actual <= combined
        target = float(QUANTILES[1])
        stretch = self.stretch * math.exp(step * (target - float(inside[1])))
        return Scores(
            losses,
            judged,
            min(_MOST_STRETCH, max(_LEAST_STRETCH, stretch)),
            kept * self.covered + inside,
            kept * self.covered_weight + 1.0,
            self.count + 1,
        )

    def weights(self, state: int, able: NDArray[np.bool_], prior: Floats, sharpness: float) -> Floats:
        """Weight of each method, sum 1, shape (C,).

        A weight falls with the power `sharpness` of the mean loss. Until losses are known in a state, those of the
        prior count: just after a change only the level is believed before the others have shown what they can.

        Args:
            state: Of now.
            able: Which methods have a forecast now, shape (C,).
            prior: Relative losses assumed before any is known, by state, shape (2, C).
            sharpness: The power.
        """
        judged = float(self.judged.sum())
        typical = float(self.losses.sum()) / judged if judged > 0 else 1.0
        mean = (self.losses[state] + _PRIOR_LOSSES * typical * prior[state]) / (self.judged[state] + _PRIOR_LOSSES)
        relative = np.maximum(mean, _TINY) / max(_TINY, float(mean[able].min()))
        weights = np.where(able, relative**-sharpness, 0.0)
        return np.asarray(weights / weights.sum())

    def coverage(self) -> Coverage | None:
        """Lately; `None` before the first forecast has come true."""
        if self.covered_weight <= 0:
            return None
        shares = (self.covered / self.covered_weight).tolist()
        return Coverage({float(q): round(share, 4) for q, share in zip(QUANTILES, shares, strict=True)}, self.count)
