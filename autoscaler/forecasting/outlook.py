"""What each method says after the newest counts, and the errors of before around it."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.forecasting import sampling, season
from autoscaler.forecasting.level import level
from autoscaler.forecasting.linear import LAGS, features, trend
from autoscaler.forecasting.state import (
    AUTOREG,
    BURST,
    CALENDAR,
    ETS,
    LEVEL,
    METHODS,
    REGRESSION,
    SEASON,
    TREND,
    Errors,
    Outlook,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.forecasting.settings import ForecastSettings
    from autoscaler.forecasting.state import ForecastState

    Floats = NDArray[np.float64]

#: Past moments drawn.
DRAWS = 64
#: Paths reach at most so many times the highest rate kept.
CEILING = 2.0
#: Alike moments that must be known before whole rates are drawn from them.
_LEAST_ALIKE = 6.0
#: Weight of the assumed errors in past moments, and after how many known ones it halves.
_PRIOR_WEIGHT, _PRIOR_HALF = 12.0, 30.0
#: Errors grow with the root of the scale, at most so many times.
_RESCALED = 1.2
#: Mean squares below this are none.
_TINY = 1e-12


def outlook(recent: Floats, at_s: float, state: ForecastState, settings: ForecastSettings) -> Outlook:
    """What each method says.

    Args:
        recent: Counts by second since the last gap, newest last.
        at_s: End of the newest, Unix seconds.
        state: What was learnt.
        settings: Buckets and steps.
    """
    steps = settings.steps
    now = level(recent, state.dispersion)
    lags = _lags(recent, now.per_s, settings.bucket_s)
    long_mean = state.long_mean if state.long_weight >= 1 else now.per_s
    means = np.empty((len(METHODS), steps))
    means[:] = now.per_s
    able = np.zeros(len(METHODS), dtype=bool)
    able[LEVEL] = True
    able[BURST] = state.errors is not None and state.errors.alike
    settled = (recent.size if now.jumped_s is None else now.jumped_s) // settings.bucket_s
    x = features(lags, long_mean)
    found: list[tuple[int, Floats | None]] = [(TREND, trend(lags, min(settled, LAGS), steps))]
    if len(state.features) >= steps:
        found.append((REGRESSION, state.regression.coefficients @ x))
    if state.autoreg is not None:
        found.append((AUTOREG, state.autoreg.ahead(lags)))
    if state.ets is not None:
        found.append((ETS, state.ets.ahead(lags)))
    if state.period is not None:
        found.append((SEASON, season.ahead(state.buckets.array, state.period, now.per_s, steps)))
    for calendar in state.calendars:
        found.append((CALENDAR, calendar.ahead(at_s, now.per_s, steps, settings.bucket_s)))
        if found[-1][1] is not None:
            break
    for method, ahead in found:
        if ahead is not None:
            means[method] = ahead
            able[method] = True
    np.clip(means, 0.0, CEILING * max(state.peak, now.per_s), out=means)
    means[BURST] = 0.0
    look = np.sqrt([max(now.per_s, 0.0), float(lags[-12:].sum()) / 12, float(lags[-10:-4].sum()) / 6])
    scale = max(now.per_s, 0.3 * long_mean, 1.0 / settings.bucket_s)
    # As long as a jump is within the seconds looked at, what was fitted before it is judged apart.
    unsettled = int(now.jumped_s is not None)
    return Outlook(now, means, able, look, unsettled, scale, x)


def drawn_errors(now: Outlook, state: ForecastState, settings: ForecastSettings) -> Errors:
    """Errors of moments like now, as whole trajectories; assumed ones as long as few are known."""
    steps = settings.steps
    complete = min(len(state.looks), state.buckets.total - steps - (state.looks.total - len(state.looks)))
    raw = np.empty((DRAWS, len(METHODS), steps))
    assumed = DRAWS
    alike = False
    usable = _usable(state, max(0, complete), steps)
    known = max(0, complete) if usable is None else int(np.count_nonzero(usable))
    if known:
        weight = _PRIOR_WEIGHT * math.exp2(-known / _PRIOR_HALF)
        assumed = round(DRAWS * weight / (weight + known))
        count = DRAWS - assumed
        looks = state.looks.array[:complete]
        distance, noise = sampling.distances(looks[:, :3], now.look), 0.5 / math.sqrt(settings.bucket_s)
        recency = sampling.recency(complete, settings.bucket_s / settings.half_life_s)
        if usable is not None:
            recency = recency * usable
        for methods, width in ((slice(0, BURST), sampling.ERROR_WIDTH), (BURST, sampling.BURST_WIDTH)):
            kernel = sampling.alike(distance, now.look, width, noise)
            if usable is not None:
                kernel[~usable] = 0.0
            if methods == BURST:
                alike = float(kernel @ recency) >= _LEAST_ALIKE
            moments = sampling.drawn((kernel + sampling.SPREAD / recency.sum()) * recency, count)
            after = _after(state, moments, steps)
            if methods == BURST:
                raw[assumed:, BURST] = after
            else:
                ratio = np.clip(np.sqrt(now.scale / looks[moments, 3]), 1 / _RESCALED, _RESCALED)
                past = after[:, None, :] - state.means.array[moments, methods]
                raw[assumed:, methods] = past * ratio[:, None, None]
    if assumed:
        walks = now.level.per_s * sampling.prior_errors(steps)[np.arange(assumed) % sampling.PRIORS]
        # The noise that errors of the past have in them.
        walks = walks + math.sqrt(now.level.per_s / settings.bucket_s) * _noise(assumed, steps)
        raw[:assumed] = walks[:, None, :]
        raw[:assumed, BURST] += now.level.per_s
    return Errors(raw, alike)


def quieted(errors: Errors, state: ForecastState, steps: int) -> Floats:
    """Errors without Poisson noise and with the calibrated spread, shape (m, C, steps).

    Noise and changes of the rate are independent, so their variances add: the deviations from the mean error keep the
    share of the standard deviation that is not noise.
    """
    raw = errors.raw[:, :, :steps]
    middle = raw.sum(axis=0) / raw.shape[0]
    noise = state.noise / np.maximum(state.squares[:, :steps], _TINY)
    kept = state.scores.stretch * np.sqrt(np.maximum(1 - noise, 0.0))
    return np.asarray(middle * (1 - kept) + kept * raw)


def _lags(recent: Floats, now: float, bucket_s: int) -> Floats:
    """The newest K bucket rates ending now; where there are fewer, the oldest goes on before them."""
    whole = min(LAGS, recent.size // bucket_s)
    if not whole:
        return np.full(LAGS, now)
    rates = np.asarray(recent[recent.size - whole * bucket_s :].reshape(whole, bucket_s).sum(axis=1) / bucket_s)
    return rates if whole == LAGS else np.concatenate((np.full(LAGS - whole, rates[0]), rates))


def _usable(state: ForecastState, complete: int, steps: int) -> NDArray[np.bool_] | None:
    """Past moments at and after which all is known, shape (complete,); `None` = all."""
    if state.buckets.total - state.unknown_at > len(state.looks) + steps:
        return None
    gaps = np.concatenate(([0], np.cumsum(np.isnan(state.buckets.array))))
    first = _first_after(state) + np.arange(complete)
    return np.asarray((gaps[first + steps] == gaps[first]) & ~np.isnan(state.looks.array[:complete, 0]))


def _first_after(state: ForecastState) -> int:
    """Place among the buckets of the one after the oldest look."""
    return (state.looks.total - len(state.looks)) - (state.buckets.total - len(state.buckets)) + 1


def _after(state: ForecastState, moments: NDArray[np.int64], steps: int) -> Floats:
    """Bucket rates after past moments, shape (n, steps)."""
    buckets = state.buckets.array
    first = moments + _first_after(state)
    return np.asarray(buckets[first[:, None] + np.arange(steps)])


@cache
def _noise(count: int, steps: int) -> Floats:
    noise: Floats = np.random.default_rng(2).normal(size=(count, steps))
    noise.flags.writeable = False
    return noise
