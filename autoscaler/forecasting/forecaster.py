"""The forecaster: folds new seconds in, judges its methods by what came true, and draws paths.

Each method gives a mean path; around it lie the errors that the same method made before, when the load looked about as
it does now, drawn as whole trajectories so that what belongs together stays together. The methods share the paths by
how well each has forecast the highest rate of the last while.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.forecasting import sampling, season
from autoscaler.forecasting.changes import dispersion
from autoscaler.forecasting.fitting import FIT_BUCKETS, FitRequest, InlineFitter
from autoscaler.forecasting.level import level
from autoscaler.forecasting.linear import FEATURES, LAGS, Regression, features, trend
from autoscaler.forecasting.rows import Rows
from autoscaler.forecasting.scoring import QUANTILES, Scores
from autoscaler.forecasting.state import (
    AUTOREG,
    BURST,
    ETS,
    LEVEL,
    METHODS,
    REGRESSION,
    SEASON,
    TREND,
    ForecastState,
    Outlook,
    Paths,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.forecasting.fitting import Fitter, Kind
    from autoscaler.forecasting.settings import ForecastSettings
    from autoscaler.model import ArrivalHistory

    Floats = NDArray[np.float64]

#: Fewest seconds that a forecast is made from.
_LEAST_SECONDS = 3
#: Seconds of counts behind the dispersion.
_DISPERSION_S = 120
#: Past moments drawn to judge the methods.
_JUDGED_DRAWS = 64
#: Alike moments that must be known before whole paths are drawn from them.
_LEAST_ALIKE = 6.0
#: Weight of the assumed errors in past moments, and after how many known ones it halves.
_PRIOR_WEIGHT, _PRIOR_HALF = 12.0, 30.0
#: Paths reach at most so many times the highest rate kept.
_CEILING = 2.0
#: Errors of another scale are stretched or shrunk at most so many times.
_RESCALED = 4.0
#: What is left after each bucket of the long mean and of the errors' mean squares.
_LONG_KEPT, _SQUARES_KEPT = 0.9986, 0.97
#: Quantiles of the band in pictures.
_BAND = (0.05, 0.95)
#: Losses assumed before any are known, relative to the level's: in calm, and just after a change, when what was fitted
#: to another regime must first show that it holds.
_PRIOR_LOSSES = np.array([[1.0, 1.1, 1.05, 1.2, 1.2, 1.2, 1.1], [1.0, 1.5, 1.5, 2.0, 2.0, 1.5, 1.2]])


class Forecaster:
    """Pure: the same history and state give the same result. Reads no clock, keeps nothing."""

    def __init__(self, settings: ForecastSettings, fitter: Fitter | None = None) -> None:
        """With its settings.

        Args:
            settings: How far to look, how fast to learn.
            fitter: Who does the slow fits; by default they are done in the tick that wants them.
        """
        self._settings = settings
        self._fitter: Fitter = fitter or InlineFitter()
        self._kept = 0.5 ** (settings.bucket_s / settings.half_life_s)
        self._loss_kept = 0.5 ** (settings.bucket_s / settings.loss_half_life_s)

    def initial(self) -> ForecastState:
        """Before the first counts."""
        settings = self._settings
        methods, steps = len(METHODS), settings.steps
        memory = max(1, int(settings.memory_s / settings.bucket_s))
        errors = max(1, int(settings.errors_s / settings.bucket_s))
        return ForecastState(
            history=None,
            closed_at_s=-math.inf,
            buckets=Rows(memory),
            looks=Rows(errors, (4,)),
            means=Rows(errors, (methods, steps)),
            quantiles=Rows(settings.judged_steps + 1, (methods + 2, QUANTILES.size)),
            features=Rows(steps + 1, (FEATURES,)),
            regression=Regression.initial(steps),
            autoreg=None,
            ets=None,
            requests=(),
            autoreg_at_s=-math.inf,
            ets_at_s=-math.inf,
            period=None,
            searched_at_s=-math.inf,
            scores=Scores.initial(methods),
            squares=np.zeros((methods, steps)),
            noise=0.0,
            long_mean=0.0,
            long_weight=0.0,
            dispersion=1.0,
            peak=0.0,
        )

    def update(self, history: ArrivalHistory, state: ForecastState) -> ForecastState:
        """With the seconds that are new in `history`.

        Args:
            history: Counts by second up to now. A first one of many seconds is folded in as if it had come bit by bit.
            state: What the call before returned, or `initial()`.
        """
        bucket_s = self._settings.bucket_s
        seconds = history.counts.size
        if state.history is not None and history.until_s < state.closed_at_s - bucket_s:
            # The clock was set back: what was learnt holds, the times begin anew.
            state = replace(state, closed_at_s=history.until_s, requests=(), autoreg_at_s=-math.inf)
            state = replace(state, ets_at_s=-math.inf, searched_at_s=-math.inf)
        first = state.history is None
        # Half a second of jitter in the samples does not make a bucket late.
        behind_s = (seconds if first else history.until_s - state.closed_at_s) + 0.5
        buckets = int(behind_s // bucket_s)
        missed = buckets - seconds // bucket_s
        if missed > 0:
            state = self._gap(state, min(missed, self._settings.steps + LAGS))
            buckets -= missed
        for left in range(buckets - 1, -1, -1):
            stop = seconds - left * bucket_s
            state = self._close(history.counts[:stop], history.known[:stop], history.until_s - left * bucket_s, state)
        if first and not buckets:
            state = replace(state, closed_at_s=history.until_s - seconds)
        return replace(state, history=history)

    def paths(self, state: ForecastState, horizon_s: float, step_s: float, n: int) -> Paths | None:
        """Possible futures after the newest second.

        Args:
            state: What `update` returned.
            horizon_s: How far, in seconds; beyond `longest_s` the last rate goes on.
            step_s: Length of a step in seconds.
            n: Number of paths.

        Returns:
            The paths, or `None` when the newest seconds are not known.
        """
        history = state.history
        if history is None:
            return None
        recent = history.recent
        if recent.size < _LEAST_SECONDS:
            return None
        outlook = self._outlook(recent, state)
        weights = self._weights(outlook, state)
        steps = min(self._settings.steps, max(1, math.ceil(horizon_s / self._settings.bucket_s - 1e-9)))
        allotted = sampling.allotted(weights, n)
        drawn_by = np.repeat(np.arange(len(METHODS)), allotted)
        rates = self._drawn(outlook, state, drawn_by, allotted, steps)
        if step_s != self._settings.bucket_s or steps * step_s < horizon_s:
            rates = rates @ _regridded(steps, self._settings.bucket_s, math.ceil(horizon_s / step_s - 1e-9), step_s)
        ordered = np.sort(rates, axis=0)
        last = n - 1
        return Paths(
            at_s=history.until_s,
            step_s=step_s,
            rates=rates,
            drawn_by=drawn_by,
            methods=METHODS,
            weights={name: round(float(w), 6) for name, w in zip(METHODS, weights, strict=True) if w > 0},
            mean=rates.mean(axis=0),
            lower=ordered[round(_BAND[0] * last)],
            upper=ordered[round(_BAND[1] * last)],
            coverage=state.scores.coverage(),
            level=outlook.level,
        )

    # --- folding in ---------------------------------------------------------------------------------------------------

    def _gap(self, state: ForecastState, buckets: int) -> ForecastState:
        """So many buckets that nothing is known of."""
        for _ in range(buckets):
            state = replace(
                state,
                buckets=state.buckets.append(np.nan),
                looks=state.looks.append(np.nan),
                means=state.means.append(np.nan),
                quantiles=state.quantiles.append(np.nan),
                features=state.features.append(np.nan),
            )
        return state

    def _close(self, counts: Floats, known: NDArray[np.bool_], at_s: float, state: ForecastState) -> ForecastState:
        """One bucket more, ending with `counts`, at `at_s`."""
        settings = self._settings
        bucket_s = settings.bucket_s
        newest, certain = counts[-bucket_s:], known[-bucket_s:]
        rate = float(newest.sum()) / bucket_s if newest.size == bucket_s and certain.all() else math.nan
        unknown = np.flatnonzero(~known)
        recent = counts[unknown[-1] + 1 :] if unknown.size else counts
        if math.isnan(rate) or recent.size < _LEAST_SECONDS:
            return replace(self._gap(state, 1), closed_at_s=at_s)
        buckets = state.buckets.append(rate)
        weight = min(1.0, 1 / (state.long_weight + 1))
        state = replace(
            state,
            closed_at_s=at_s,
            buckets=buckets,
            dispersion=dispersion(recent[-_DISPERSION_S:]),
            peak=max(rate, float(np.nanmax(buckets.array))),
            long_mean=state.long_mean + weight * (rate - state.long_mean),
            long_weight=_LONG_KEPT * (state.long_weight + 1),
        )
        state = self._learnt(self._judged(state))
        state = self._fitted(self._searched(state, at_s), at_s)
        outlook = self._outlook(recent, state)
        state = self._foreseen(outlook, state)
        return replace(
            state,
            looks=state.looks.append(np.append(outlook.look, outlook.scale)),
            means=state.means.append(outlook.means),
            features=state.features.append(outlook.features),
        )

    def _judged(self, state: ForecastState) -> ForecastState:
        """Compare what was forecast a judged horizon ago with what came."""
        steps = self._settings.judged_steps
        forecasts = state.quantiles.array
        if forecasts.shape[0] < steps:
            return state
        forecast = forecasts[-steps]
        actual = float(state.buckets.array[-steps:].max())
        if math.isnan(actual) or math.isnan(float(forecast[-1, 0])):
            return state
        scores = state.scores.judge(
            forecast[: len(METHODS)],
            forecast[len(METHODS)],
            actual=actual,
            scale=float(forecast[-1, 1]),
            state=int(forecast[-1, 0]),
            kept=self._loss_kept,
            step=self._settings.calibration_step,
        )
        return replace(state, scores=scores)

    def _learnt(self, state: ForecastState) -> ForecastState:
        """Take the newest whole path into the regression."""
        steps = self._settings.steps
        rows = state.features.array
        if rows.shape[0] < steps:
            return state
        x, ahead = rows[-steps], state.buckets.array[-steps:]
        if math.isnan(float(x.sum())) or math.isnan(float(ahead.sum())):
            return state
        scale = float(x[-1]) + float(x[-2]) + 1.0 / self._settings.bucket_s
        return replace(state, regression=state.regression.learnt(x, ahead, scale))

    def _searched(self, state: ForecastState, at_s: float) -> ForecastState:
        if at_s - state.searched_at_s < self._settings.season_search_s:
            return state
        return replace(state, period=season.period(state.buckets.array), searched_at_s=at_s)

    def _fitted(self, state: ForecastState, at_s: float) -> ForecastState:
        """Use the fits that are due and ask for new ones."""
        settings = self._settings
        for request in state.requests:
            if at_s >= request.due_at_s - 1e-6:
                found = self._fitter.result(request)
                state = replace(state, requests=tuple(other for other in state.requests if other is not request))
                state = replace(state, autoreg=found) if request.kind == "autoreg" else replace(state, ets=found)
        if at_s - state.autoreg_at_s >= settings.autoreg_refit_s:
            state = replace(self._asked(state, "autoreg", at_s), autoreg_at_s=at_s)
        if at_s - state.ets_at_s >= min(settings.smoothing_refit_s, 60.0 * len(state.buckets)):
            state = replace(self._asked(state, "ets", at_s), ets_at_s=at_s)
        return state

    def _asked(self, state: ForecastState, kind: Kind, at_s: float) -> ForecastState:
        rates = state.buckets.array[-FIT_BUCKETS[kind] :]
        unknown = np.flatnonzero(np.isnan(rates))
        rates = (rates[unknown[-1] + 1 :] if unknown.size else rates).copy()
        settings = self._settings
        request = FitRequest(kind, at_s + settings.fit_delay_s, rates, settings.autoreg_lags, settings.steps)
        self._fitter.submit(request)
        return replace(state, requests=(*state.requests, request))

    def _foreseen(self, outlook: Outlook, state: ForecastState) -> ForecastState:
        """Note what each method says of the highest rate within the judged horizon, noise included, for later."""
        methods, steps = len(METHODS), self._settings.steps
        complete = _complete(state, steps)
        draws = _JUDGED_DRAWS
        errors = np.empty((draws, methods, steps))
        priors = draws
        if complete > 0:
            priors = _assumed(draws, complete)
            kernel = self._kernel(outlook, state, complete, sampling.ERROR_WIDTH)
            errors[priors:] = self._errors(outlook, state, sampling.drawn(kernel, draws - priors), steps)
            if outlook.able[BURST]:
                kernel = self._kernel(outlook, state, complete, sampling.BURST_WIDTH)
                burst = sampling.drawn(kernel, draws - priors)
                errors[priors:, BURST] = self._errors(outlook, state, burst, steps, whole=True)
        if priors:
            errors[:priors] = self._prior(outlook, priors, steps)[:, None, :]
            # Noise that errors of the past have in them.
            errors[:priors] += math.sqrt(outlook.level.per_s / self._settings.bucket_s) * _noise(priors, steps)[:, None]
        judged = self._settings.judged_steps
        highest = np.sort((outlook.means[None, :, :judged] + errors[:, :, :judged]).max(axis=2), axis=0)
        places = np.rint(QUANTILES * (draws - 1)).astype(int)
        row = np.full((methods + 2, QUANTILES.size), np.nan)
        row[:methods] = np.where(outlook.able[:, None], highest[places].T, np.nan)
        weights = self._weights(outlook, state)
        row[methods] = self._combined(highest, weights, state.scores.stretch)
        row[-1] = (float(outlook.level.changed), outlook.scale, 0.0)
        squares = errors.var(axis=0) / outlook.scale**2
        noise = outlook.level.per_s / self._settings.bucket_s / outlook.scale**2
        kept = _SQUARES_KEPT if state.noise > 0 else 0.0
        return replace(
            state,
            quantiles=state.quantiles.append(row),
            squares=kept * state.squares + (1 - kept) * squares,
            noise=kept * state.noise + (1 - kept) * noise,
        )

    def _combined(self, highest: Floats, weights: Floats, stretch: float) -> Floats:
        """Quantiles of the combination's highest rate; `highest` by draw (ascending) and method."""
        middle = highest.mean(axis=0)
        values = (middle + stretch * (highest - middle)).T.ravel()
        order = np.argsort(values)
        sums = np.cumsum(np.repeat(weights / highest.shape[0], highest.shape[0])[order])
        places = np.minimum(np.searchsorted(sums, QUANTILES * sums[-1]), values.size - 1)
        return np.asarray(values[order[places]])

    # --- looking ahead ------------------------------------------------------------------------------------------------

    def _outlook(self, recent: Floats, state: ForecastState) -> Outlook:
        """What each method says after `recent`, the counts by second since the last gap."""
        settings = self._settings
        steps = settings.steps
        now = level(recent, state.dispersion)
        lags = self._lags(recent, now.per_s)
        long_mean = state.long_mean if state.long_weight >= 1 else now.per_s
        means = np.empty((len(METHODS), steps))
        means[:] = now.per_s
        able = np.zeros(len(METHODS), dtype=bool)
        able[LEVEL] = True
        settled = (
            min(now.window_s, recent.size) // settings.bucket_s if now.changed else recent.size // settings.bucket_s
        )
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
        ceiling = _CEILING * max(state.peak, now.per_s)
        for method, ahead in found:
            if ahead is not None:
                means[method] = ahead
                able[method] = True
        np.clip(means, 0.0, ceiling, out=means)
        means[BURST] = 0.0
        look = np.sqrt(np.maximum([now.per_s, lags[-12:].mean(), lags[-10:-4].mean()], 0.0))
        scale = max(now.per_s, 0.3 * long_mean, 1.0 / settings.bucket_s)
        outlook = Outlook(now, means, able, look, scale, x)
        complete = _complete(state, steps)
        if complete > 0:
            kernel = self._kernel(outlook, state, complete, sampling.BURST_WIDTH)
            able[BURST] = float(kernel.sum()) >= _LEAST_ALIKE
        return outlook

    def _lags(self, recent: Floats, now: float) -> Floats:
        """The newest K bucket rates ending now; where there are fewer, the oldest goes on before them."""
        bucket_s = self._settings.bucket_s
        whole = min(LAGS, recent.size // bucket_s)
        if not whole:
            return np.full(LAGS, now)
        sums = recent[recent.size - whole * bucket_s :].reshape(whole, bucket_s).sum(axis=1) / bucket_s
        return np.asarray(sums if whole == LAGS else np.concatenate((np.full(LAGS - whole, sums[0]), sums)))

    def _weights(self, outlook: Outlook, state: ForecastState) -> Floats:
        return state.scores.weights(int(outlook.level.changed), outlook.able, _PRIOR_LOSSES, self._settings.sharpness)

    def _kernel(self, outlook: Outlook, state: ForecastState, complete: int, width: float) -> Floats:
        """Weights of the first `complete` past moments by age and likeness."""
        noise = 0.5 / math.sqrt(self._settings.bucket_s)
        alike = sampling.alike(state.looks.array[:complete, :3], outlook.look, width, noise)
        weights = alike * sampling.recency(complete, self._kept)
        return np.nan_to_num(weights)

    def _errors(
        self, outlook: Outlook, state: ForecastState, moments: NDArray[np.int64], steps: int, *, whole: bool = False
    ) -> Floats:
        """What came after past moments less what was forecast, shape (n, C, steps); the whole rates: (n, steps)."""
        after = self._after(state, moments, steps)
        scale = state.looks.array[moments, 3]
        ratio = np.clip(outlook.scale / scale, 1 / _RESCALED, _RESCALED)
        if whole:
            return np.nan_to_num(after)
        errors = (after[:, None, :] - state.means.array[moments, :, :steps]) * ratio[:, None, None]
        return np.asarray(np.nan_to_num(errors))

    def _after(self, state: ForecastState, moments: NDArray[np.int64], steps: int) -> Floats:
        """Bucket rates after past moments, shape (n, steps)."""
        buckets = state.buckets.array
        first = moments + (state.looks.total - len(state.looks)) - (state.buckets.total - buckets.size) + 1
        return np.asarray(buckets[first[:, None] + np.arange(steps)])

    def _prior(self, outlook: Outlook, count: int, steps: int) -> Floats:
        rows = np.arange(count) * sampling.PRIORS // max(1, count) if count < sampling.PRIORS else np.arange(count)
        return np.asarray(outlook.level.per_s * sampling.prior_errors(steps)[rows % sampling.PRIORS])

    def _drawn(
        self, outlook: Outlook, state: ForecastState, drawn_by: NDArray[np.int64], allotted: list[int], steps: int
    ) -> Floats:
        """Paths by method in turn, shape (n, steps), without Poisson noise."""
        errors = np.zeros((drawn_by.size, steps))
        complete = _complete(state, steps)
        kernel = self._kernel(outlook, state, complete, sampling.ERROR_WIDTH) if complete > 0 else None
        groups = []
        start = 0
        for method, count in enumerate(allotted):
            stop = start + count
            if count:
                groups.append((method, start, stop))
            start = stop
        moments = np.zeros(drawn_by.size, dtype=np.int64)
        assumed = np.zeros(drawn_by.size, dtype=bool)
        for method, start, stop in groups:
            count = stop - start
            priors = count
            if kernel is not None:
                priors = 0 if method == BURST else _assumed(count, complete)
                weights = kernel
                if method == BURST:
                    weights = self._kernel(outlook, state, complete, sampling.BURST_WIDTH)
                if count > priors:
                    moments[start + priors : stop] = sampling.drawn(weights, count - priors)
            assumed[start : start + priors] = True
            errors[start : start + priors] = self._prior(outlook, priors, steps)
        if kernel is not None:
            ratio = np.clip(outlook.scale / state.looks.array[moments, 3], 1 / _RESCALED, _RESCALED)
            ratio[drawn_by == BURST] = 1.0
            past = self._after(state, moments, steps) - state.means.array[moments, drawn_by, :steps]
            errors = np.where(assumed[:, None], errors, np.nan_to_num(past * ratio[:, None]))
        stretch = state.scores.stretch
        quiet = np.sqrt(np.clip(1 - state.noise / np.maximum(state.squares[:, :steps], 1e-12), 0.0, 1.0))
        for method, start, stop in groups:
            part = errors[start:stop]
            middle = part.mean(axis=0)
            errors[start:stop] = middle + stretch * quiet[method] * (part - middle)
        paths = outlook.means[drawn_by, :steps] + errors
        return np.asarray(np.clip(paths, 0.0, _CEILING * max(state.peak, outlook.level.per_s)))


def _complete(state: ForecastState, steps: int) -> int:
    """Past moments, from the oldest kept on, after which so many buckets are known of."""
    return min(len(state.looks), state.buckets.total - steps - (state.looks.total - len(state.looks)))


def _assumed(count: int, complete: int) -> int:
    """How many of so many draws are assumed errors."""
    weight = _PRIOR_WEIGHT * math.exp2(-complete / _PRIOR_HALF)
    return round(count * weight / (weight + complete))


@cache
def _noise(count: int, steps: int) -> Floats:
    noise: Floats = np.random.default_rng(2).normal(size=(count, steps))
    noise.flags.writeable = False
    return noise


@cache
def _regridded(buckets: int, bucket_s: float, steps: int, step_s: float) -> Floats:
    """Matrix (buckets, steps) of the share that each bucket has in each step; the last bucket goes on."""
    edges = np.append(np.arange(buckets) * bucket_s, np.inf)
    low = np.arange(steps) * step_s
    overlap = np.minimum(edges[None, 1:], low[:, None] + step_s) - np.maximum(edges[None, :-1], low[:, None])
    matrix: Floats = (np.maximum(overlap, 0.0) / step_s).T
    matrix.flags.writeable = False
    return matrix
