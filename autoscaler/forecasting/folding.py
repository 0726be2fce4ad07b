"""One bucket more: what was forecast is judged, what is learnt is updated, what is forecast is noted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.forecasting import season
from autoscaler.forecasting.changes import dispersion
from autoscaler.forecasting.fitting import FIT_BUCKETS, FitRequest
from autoscaler.forecasting.outlook import DRAWS, drawn_errors, outlook
from autoscaler.forecasting.scoring import QUANTILES
from autoscaler.forecasting.state import METHODS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.forecasting.fitting import Fitter, Kind
    from autoscaler.forecasting.linear import Regression
    from autoscaler.forecasting.scoring import Scores
    from autoscaler.forecasting.settings import ForecastSettings
    from autoscaler.forecasting.state import ForecastState, Outlook

    Floats = NDArray[np.float64]

#: Fewest seconds that a forecast is made from.
LEAST_SECONDS = 3
#: Losses assumed before any are known, relative to the level's: in calm, and after a jump, when what was fitted to
#: another regime must first show that it holds.
PRIOR_LOSSES = np.array([[1.0, 1.1, 1.05, 1.2, 1.2, 1.2, 1.1, 1.1], [1.0, 2.0, 2.5, 3.0, 3.0, 2.0, 2.0, 1.7]])
#: Seconds of counts behind the dispersion.
_DISPERSION_S = 120
#: What is left after each bucket of the long mean and of the errors' mean squares.
_LONG_KEPT, _SQUARES_KEPT = 0.9986, 0.97
#: Places of the quantiles among as many sorted draws.
_PLACES = np.rint(QUANTILES * (DRAWS - 1)).astype(int)


def unknown(state: ForecastState, buckets: int) -> ForecastState:
    """After so many buckets that nothing is known of."""
    for _ in range(buckets):
        state = replace(
            state,
            buckets=state.buckets.append(np.nan),
            looks=state.looks.append(np.nan),
            means=state.means.append(np.nan),
            quantiles=state.quantiles.append(np.nan),
            features=state.features.append(np.nan),
        )
    return replace(state, unknown_at=state.buckets.total)


def closed(
    counts: Floats, at_s: float, state: ForecastState, settings: ForecastSettings, fitter: Fitter
) -> ForecastState:
    """After one bucket more.

    Args:
        counts: By second, known without a gap, ending with the bucket.
        at_s: Its end.
        state: Before it.
        settings: How to learn.
        fitter: Who does the slow fits.
    """
    bucket_s = settings.bucket_s
    rate = float(counts[-bucket_s:].sum()) / bucket_s
    buckets = state.buckets.append(rate)
    state = replace(
        state,
        closed_at_s=at_s,
        buckets=buckets,
        dispersion=dispersion(counts[-_DISPERSION_S:]),
        peak=max(rate, float(np.fmax.reduce(buckets.array))),
        long_mean=state.long_mean + (rate - state.long_mean) / (state.long_weight + 1),
        long_weight=_LONG_KEPT * (state.long_weight + 1),
        scores=_judged(state, buckets.array, settings),
        regression=_learnt(state, buckets.array, settings),
        calendars=tuple(one.learnt(at_s, rate, bucket_s) for one in state.calendars),
    )
    if at_s - state.searched_at_s >= settings.season_search_s:
        state = replace(state, period=season.period(buckets.array), searched_at_s=at_s)
    state = _fitted(state, at_s, settings, fitter)
    now = outlook(counts, at_s, state, settings)
    state = _foreseen(now, state, settings)
    return replace(
        state,
        looks=state.looks.append(np.append(now.look, now.scale)),
        means=state.means.append(now.means),
        features=state.features.append(now.features),
    )


def weights(now: Outlook, state: ForecastState, settings: ForecastSettings) -> Floats:
    """Share of each method, shape (C,)."""
    return state.scores.weights(now.unsettled, now.able, PRIOR_LOSSES, settings.sharpness)


def _judged(state: ForecastState, buckets: Floats, settings: ForecastSettings) -> Scores:
    """Compare what was forecast a judged horizon ago with what came."""
    steps = settings.judged_steps
    forecasts = state.quantiles.array
    if forecasts.shape[0] < steps:
        return state.scores
    forecast = forecasts[-steps]
    actual = float(buckets[-steps:].max())
    scale = float(forecast[-1, 1])
    if math.isnan(actual) or math.isnan(scale):
        return state.scores
    return state.scores.judge(
        forecast[: len(METHODS)],
        forecast[len(METHODS)],
        actual=actual,
        scale=scale,
        state=int(forecast[-1, 0]),
        kept=0.5 ** (settings.bucket_s / settings.loss_half_life_s),
        step=settings.calibration_step,
    )


def _learnt(state: ForecastState, buckets: Floats, settings: ForecastSettings) -> Regression:
    """Take the newest whole path into the regression."""
    steps = settings.steps
    rows = state.features.array
    if rows.shape[0] < steps:
        return state.regression
    x, ahead = rows[-steps], buckets[-steps:]
    if math.isnan(float(x.sum()) + float(ahead.sum())):
        return state.regression
    return state.regression.learnt(x, ahead, float(x[-1]) + float(x[-2]) + 1.0 / settings.bucket_s)


def _fitted(state: ForecastState, at_s: float, settings: ForecastSettings, fitter: Fitter) -> ForecastState:
    """Use the fits that are due and ask for new ones."""
    for request in state.requests:
        if at_s >= request.due_at_s - 1e-6:
            found = fitter.result(request)
            state = replace(state, requests=tuple(other for other in state.requests if other is not request))
            state = replace(state, autoreg=found) if request.kind == "autoreg" else replace(state, ets=found)
    if at_s - state.autoreg_at_s >= settings.autoreg_refit_s:
        state = replace(_asked(state, "autoreg", at_s, settings, fitter), autoreg_at_s=at_s)
    # At first more often: whenever twice as much is known.
    seen_s = settings.bucket_s * len(state.buckets)
    if at_s - state.ets_at_s >= min(settings.smoothing_refit_s, max(settings.autoreg_refit_s, seen_s / 2)):
        state = replace(_asked(state, "ets", at_s, settings, fitter), ets_at_s=at_s)
    return state


def _asked(state: ForecastState, kind: Kind, at_s: float, settings: ForecastSettings, fitter: Fitter) -> ForecastState:
    rates = state.buckets.array[-FIT_BUCKETS[kind] :]
    gaps = np.flatnonzero(np.isnan(rates))
    rates = (rates[gaps[-1] + 1 :] if gaps.size else rates).copy()
    request = FitRequest(kind, at_s + settings.fit_delay_s, rates, settings.autoreg_lags, settings.steps)
    fitter.submit(request)
    return replace(state, requests=(*state.requests, request))


def _foreseen(now: Outlook, state: ForecastState, settings: ForecastSettings) -> ForecastState:
    """Note what each method says of the highest rate within the judged horizon, noise included, for later."""
    methods, judged = len(METHODS), settings.judged_steps
    errors = drawn_errors(now, state, settings)
    highest = (now.means[:, :judged] + errors.raw[:, :, :judged]).max(axis=2)
    shares = weights(now, state, settings)
    row = np.full((methods + 2, QUANTILES.size), np.nan)
    row[methods] = _combined(highest, shares, state.scores.stretch)
    highest.sort(axis=0)
    row[:methods] = np.where(now.able[:, None], highest[_PLACES].T, np.nan)
    row[-1] = (now.unsettled, now.scale, 0.0)
    squares = errors.raw.var(axis=0) / now.scale**2
    noise = now.level.per_s / settings.bucket_s / now.scale**2
    kept = _SQUARES_KEPT if state.noise > 0 else 0.0
    return replace(
        state,
        errors=errors,
        quantiles=state.quantiles.append(row),
        squares=kept * state.squares + (1 - kept) * squares,
        noise=kept * state.noise + (1 - kept) * noise,
    )


def _combined(highest: Floats, shares: Floats, stretch: float) -> Floats:
    """Quantiles of the combination's highest rate; `highest` by draw and method, shape (m, C)."""
    middle = highest.mean(axis=0)
    values = (middle + stretch * (highest - middle)).ravel()
    order = np.argsort(values)
    sums = np.cumsum(shares[order % shares.size])
    places = np.minimum(np.searchsorted(sums, QUANTILES * sums[-1]), values.size - 1)
    return np.asarray(values[order[places]])
