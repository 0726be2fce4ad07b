"""The forecast of one tick: what is arriving now, where it is heading, and how far it may stray within the horizon."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.forecasting import autoreg, changes
from autoscaler.forecasting.autoreg import ForecastMemory
from autoscaler.model import Forecast

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.model import ArrivalHistory
    from autoscaler.settings import PolicySettings

    Floats = NDArray[np.float64]

#: Longest window, in seconds, in which the present level is judged.
_LONGEST_WINDOW_S = 60.0
#: Seconds behind the index of dispersion: its estimate needs many counts.
_DISPERSION_WINDOW_S = 120
#: Fewest seconds that a forecast is made from: less is noise, and the first decision can wait for them.
_LEAST_COUNTS = 3
#: The level's window over the horizon: a slope is not extrapolated further than it was seen.
_WINDOW_OVER_HORIZON = 1.5


def forecast(
    history: ArrivalHistory, horizon_s: float, settings: PolicySettings, memory: ForecastMemory
) -> tuple[Forecast | None, ForecastMemory]:
    """Rate to size for over the next `horizon_s` seconds.

    The upper figure is the highest of: the present level (constant, ramp or step) with its trend and uncertainty; the
    quantile of the highest rate on paths of an autoregression; and what is arriving now beyond doubt. Right after a
    step the autoregression is left out, since it was fitted to another regime.

    Args:
        history: Counts by second.
        horizon_s: How far ahead, in seconds: the actuation delay.
        settings: Quantile, windows, significance.
        memory: What the tick before returned; `ForecastMemory()` at the first.

    Returns:
        The forecast, or `None` when the newest seconds are not known; and the memory to hand in at the next tick.
    """
    counts = history.recent
    if counts.size < _LEAST_COUNTS:
        return None, memory
    window = int(min(max(settings.reactive_window_s, _WINDOW_OVER_HORIZON * horizon_s), _LONGEST_WINDOW_S))
    spread = changes.dispersion(counts[-_DISPERSION_WINDOW_S:])
    now = changes.level(counts[-window:], settings.change_significance, spread)
    z = NormalDist().inv_cdf(settings.forecast_quantile)
    mean = max(0.0, now.per_s + now.slope_per_s2 * horizon_s)
    upper = now.per_s + max(0.0, now.slope_per_s2) * horizon_s + max(0.0, z) * now.sigma_per_s
    if now.shape is changes.Shape.CONSTANT:
        # A ramp shows late; the newer half of the window is ahead of its mean.
        upper = max(upper, float(counts[-window // 2 :].mean()) + max(0.0, z) * now.sigma_per_s)
    upper = max(upper, changes.floor_per_s(counts, spread))
    lower = max(0.0, min(now.per_s, mean) - abs(z) * now.sigma_per_s)
    method = "reactive"
    if now.shape is changes.Shape.STEP:
        memory = ForecastMemory(None, history.until_s)
    else:
        regime_s = history.until_s - (memory.regime_from_s if memory.regime_from_s is not None else -np.inf)
        regime = counts[-max(1, int(min(max(regime_s, 0.0), counts.size))) :]
        fit = autoreg.refreshed(regime, history.until_s, horizon_s, settings, memory.fit)
        memory = ForecastMemory(fit, memory.regime_from_s)
        if fit is not None:
            paths = autoreg.roll(regime, fit, horizon_s, settings.forecast_quantile, settings)
            method = "autoreg"
            mean = paths.mean_per_s
            lower = min(lower, paths.lower_per_s)
            upper = max(upper, paths.upper_per_s)
    return (
        Forecast(
            at_s=history.until_s,
            horizon_s=horizon_s,
            mean_per_s=round(mean, 6),
            lower_per_s=round(min(lower, mean), 6),
            upper_per_s=round(max(upper, mean), 6),
            quantile=settings.forecast_quantile,
            method=method,
            history_s=float(counts.size),
        ),
        memory,
    )
