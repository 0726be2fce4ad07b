"""Fits by statsmodels: slow, so asked for at one tick and used at a later one; bounded in time and memory.

A fit is a pure function of its request. Live, another thread may do it between the two ticks; in a simulation and in a
replay it is done when it is used. The decisions are the same.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from autoscaler.forecasting.linear import LAGS, Linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

    Kind = Literal["autoreg", "ets"]

#: Buckets that a fit looks at, at most: half an hour at 5 s for an autoregression, twelve minutes for smoothing, whose
#: fit costs a hundred times as much.
FIT_BUCKETS: dict[Kind, int] = {"autoreg": 360, "ets": 144}
#: Iterations of the smoothing's optimiser: a bound on the time of a fit.
_ITERATIONS = 40


@dataclass(frozen=True, slots=True, eq=False)
class FitRequest:
    """What is to be fitted."""

    kind: Kind
    #: From this time on the fit is used.
    due_at_s: float
    #: Rates by bucket, newest last, all known.
    rates: Floats
    #: Lags of the autoregression.
    lags: int
    #: Buckets ahead (H).
    steps: int


class Fitter(Protocol):
    """Who does the fits."""

    def submit(self, request: FitRequest) -> None:
        """Called when a fit is asked for: a chance to begin. Must not block."""

    def result(self, request: FitRequest) -> Linear | None:
        """`fit(request)`; called once it is due."""


class InlineFitter:
    """Fits when the result is wanted."""

    def submit(self, request: FitRequest) -> None:
        """Nothing to begin."""

    def result(self, request: FitRequest) -> Linear | None:
        """The fit."""
        return fit(request)


def fit(request: FitRequest) -> Linear | None:
    """Coefficients for a request; `None` = the series cannot be fitted (constant, too short, no convergence)."""
    rates = request.rates
    if rates.size < 3 * (request.lags + 1) or float(np.ptp(rates)) < 1e-9:  # noqa: PLR2004 - least squares fits noise
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = _autoreg(request) if request.kind == "autoreg" else _smoothing(request)
        except (ValueError, np.linalg.LinAlgError):
            return None
    return found if np.isfinite(found.weights).all() and np.isfinite(found.constant).all() else None


def _autoreg(request: FitRequest) -> Linear:
    """Autoregression, rolled forward: each step is linear in the newest lags."""
    from statsmodels.tsa.ar_model import AutoReg  # noqa: PLC0415 - deferred: it costs seconds and 130 MB

    result = AutoReg(request.rates, lags=request.lags, trend="c").fit()
    constant, *by_lag = np.asarray(result.params, dtype=np.float64).tolist()
    weights = np.zeros((request.steps, LAGS))
    constants = np.zeros(request.steps)
    # The lags before each step: first the observed ones, then forecasts. Rows of weights, newest first.
    past = [np.eye(LAGS)[LAGS - 1 - lag] for lag in range(request.lags)]
    past_constants = [0.0] * request.lags
    for step in range(request.steps):
        weights[step] = sum(c * row for c, row in zip(by_lag, past, strict=True))
        constants[step] = constant + sum(c * k for c, k in zip(by_lag, past_constants, strict=True))
        past = [weights[step], *past[:-1]]
        past_constants = [float(constants[step]), *past_constants[:-1]]
    return Linear(weights, constants)


def _smoothing(request: FitRequest) -> Linear:
    """Exponential smoothing with a damped trend (Holt, Gardner and McKenzie): its filter over the newest buckets."""
    from statsmodels.tsa.holtwinters import Holt  # noqa: PLC0415 - deferred: it costs seconds and 130 MB

    scale = float(request.rates.mean()) or 1.0
    rates = request.rates / scale
    model = Holt(
        rates, damped_trend=True, initialization_method="known", initial_level=float(rates[:6].mean()),
        initial_trend=0.0,
    )  # fmt: skip
    found = model.fit(minimize_kwargs={"options": {"maxiter": _ITERATIONS}}).params
    alpha, beta, phi = (float(found[name]) for name in ("smoothing_level", "smoothing_trend", "damping_trend"))
    # The recursion run on the unit vectors of all buckets at once.
    level, slope = np.eye(LAGS)[0], np.zeros(LAGS)
    for bucket in range(1, LAGS):
        before = level
        level = alpha * np.eye(LAGS)[bucket] + (1 - alpha) * (before + phi * slope)
        slope = beta * (level - before) + (1 - beta) * phi * slope
    damped = np.cumsum(phi ** np.arange(1, request.steps + 1))
    return Linear(level[None, :] + damped[:, None] * slope[None, :], np.zeros(request.steps))
