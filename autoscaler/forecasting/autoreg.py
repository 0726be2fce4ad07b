"""Autoregression by statsmodels: fitted now and then, rolled forward from the newest counts at every tick."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.settings import PolicySettings

    Floats = NDArray[np.float64]

#: Lengths of a bucket in seconds.
_BUCKETS_S = (10, 5, 2, 1)
#: Buckets within the horizon: fewer blur the path, more make it noise.
_STEPS = 3
#: Observations for each coefficient, or least squares fits noise.
_POINTS_A_LAG = 3
#: Residuals kept: enough for any quantile used.
_RESIDUALS = 240
#: Paths may reach this multiple of the highest rate seen: an explosive fit must not order a thousand workers.
_CEILING = 2.0


@dataclass(frozen=True, slots=True)
class AutoRegFit:
    """Coefficients of one fit."""

    #: Length of a bucket in seconds.
    bucket_s: int
    #: Constant, then one coefficient a lag, newest lag first; rates in records a second.
    coefficients: tuple[float, ...]
    #: One-step errors in records a second, with the share of the Poisson noise taken out.
    residuals: tuple[float, ...]
    fitted_at_s: float


@dataclass(frozen=True, slots=True)
class ForecastMemory:
    """What the forecast carries from tick to tick."""

    fit: AutoRegFit | None = None
    #: Time of the last step: what came before it belongs to another regime and is not fitted; `None` = none seen.
    regime_from_s: float | None = None


@dataclass(frozen=True, slots=True)
class Paths:
    """Summary of simulated futures, in records a second."""

    mean_per_s: float
    lower_per_s: float
    upper_per_s: float


def preload() -> None:
    """Import statsmodels now (seconds, once a process), so that no tick has to."""
    import statsmodels.tsa.ar_model  # noqa: F401, PLC0415 - deferred: it costs seconds and 130 MB


def bucket_length_s(history_s: int, horizon_s: float, settings: PolicySettings) -> int | None:
    """Longest bucket, in seconds, with a few in the horizon and enough in the history; `None` = too little history."""
    if history_s < settings.autoreg_min_history_s:
        return None
    for length in _BUCKETS_S:
        fits = length <= max(1.0, horizon_s / _STEPS)
        if fits and history_s // length >= _POINTS_A_LAG * (settings.autoreg_lags + 1):
            return length
    return None


def refreshed(
    counts: Floats, at_s: float, horizon_s: float, settings: PolicySettings, fit: AutoRegFit | None
) -> AutoRegFit | None:
    """The fit to use at `at_s`: the old one while young enough, else a new one; `None` = the series cannot be fitted.

    Args:
        counts: Arrivals in successive known seconds, newest last.
        at_s: Time of the newest.
        horizon_s: How far ahead is asked.
        settings: Lags, refit interval, least history.
        fit: The last fit.
    """
    length = bucket_length_s(counts.size, horizon_s, settings)
    if length is None:
        return None
    if fit is not None and fit.bucket_s == length and 0 <= at_s - fit.fitted_at_s < settings.autoreg_refit_s:
        return fit
    return _fitted(_rates(counts, length), length, at_s, settings.autoreg_lags)


def roll(counts: Floats, fit: AutoRegFit, horizon_s: float, quantile: float, settings: PolicySettings) -> Paths:
    """Simulated futures from the newest counts: residuals are drawn again with a fixed seed, so the tape repeats.

    Args:
        counts: Arrivals in successive known seconds, newest last.
        fit: Coefficients and residuals.
        horizon_s: How far ahead, in seconds.
        quantile: Of the highest bucket rate on each path.
        settings: Number of paths.
    """
    rates = _rates(counts, fit.bucket_s)
    lags = len(fit.coefficients) - 1
    steps = max(1, math.ceil(horizon_s / fit.bucket_s))
    paths = settings.autoreg_paths
    draws = np.random.default_rng(0).choice(np.asarray(fit.residuals), size=(steps, paths))
    past = np.tile(rates[-lags:], (paths, 1))
    weights = np.asarray(fit.coefficients[1:][::-1])
    ceiling = _CEILING * float(rates.max())
    ahead = np.empty((steps, paths))
    for step in range(steps):
        ahead[step] = np.clip(fit.coefficients[0] + past @ weights + draws[step], 0.0, ceiling)
        past = np.column_stack((past[:, 1:], ahead[step]))
    highest = ahead.max(axis=0)
    return Paths(
        mean_per_s=float(ahead[-1].mean()),
        lower_per_s=float(np.quantile(ahead[-1], 1 - quantile)),
        upper_per_s=float(np.quantile(highest, quantile)),
    )


def _rates(counts: Floats, length: int) -> Floats:
    """Counts by second as rates by bucket, aligned to the newest."""
    whole = counts.size // length * length
    return np.asarray(counts[counts.size - whole :].reshape(-1, length).mean(axis=1), dtype=np.float64)


def _fitted(rates: Floats, length: int, at_s: float, lags: int) -> AutoRegFit | None:
    if float(np.ptp(rates)) < 1e-9:  # noqa: PLR2004 - constant or empty: the library warns of a singular matrix and drifts
        return None
    from statsmodels.tsa.ar_model import AutoReg  # noqa: PLC0415 - deferred: see preload

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = AutoReg(rates, lags=lags, trend="c").fit()
        except (ValueError, np.linalg.LinAlgError):
            return None
    coefficients = np.asarray(result.params, dtype=np.float64)
    residuals = np.asarray(result.resid, dtype=np.float64)[-_RESIDUALS:]
    if not (np.isfinite(coefficients).all() and np.isfinite(residuals).all()):
        return None
    # The queueing formulas count with Poisson arrivals already; only what is wilder than Poisson is a change of the
    # rate.
    variance = float(residuals.var())
    by_chance = float(rates.mean()) / length
    kept = math.sqrt(max(0.0, 1 - by_chance / variance)) if variance > 0 else 0.0
    centred = (residuals - residuals.mean()) * kept
    return AutoRegFit(length, tuple(coefficients.tolist()), tuple(centred.tolist()), at_s)
