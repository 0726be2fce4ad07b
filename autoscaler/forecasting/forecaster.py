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

from autoscaler.forecasting import folding, sampling
from autoscaler.forecasting.calendar import Calendar
from autoscaler.forecasting.fitting import InlineFitter
from autoscaler.forecasting.linear import FEATURES, LAGS, Regression
from autoscaler.forecasting.outlook import CEILING, DRAWS, drawn_errors, outlook, quieted
from autoscaler.forecasting.rows import Rows
from autoscaler.forecasting.scoring import QUANTILES, Scores
from autoscaler.forecasting.state import BURST, METHODS, ForecastState, Paths

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.forecasting.fitting import Fitter
    from autoscaler.forecasting.settings import ForecastSettings
    from autoscaler.model import ArrivalHistory

    Floats = NDArray[np.float64]

#: Quantiles of the band in pictures.
_BAND = (0.05, 0.95)


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
            calendars=tuple(
                Calendar.initial(period_s, settings.bucket_s) for period_s in sorted(settings.seasons_s, reverse=True)
            ),
            period=None,
            searched_at_s=-math.inf,
            scores=Scores.initial(methods),
            errors=None,
            unknown_at=-memory,
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
            state = folding.unknown(state, min(missed, self._settings.steps + LAGS))
            buckets -= missed
        for left in range(buckets - 1, -1, -1):
            stop = seconds - left * bucket_s
            state = self._folded(history.counts[:stop], history.known[:stop], history.until_s - left * bucket_s, state)
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
        history, settings = state.history, self._settings
        if history is None:
            return None
        recent = history.recent
        if recent.size < folding.LEAST_SECONDS:
            return None
        now = outlook(recent, history.until_s, state, settings)
        since_s = history.until_s - state.closed_at_s
        errors = state.errors
        if errors is None or (now.level.jumped_s is not None and now.level.jumped_s <= since_s):
            # The rate has jumped since the errors were drawn: other moments are like now.
            errors = drawn_errors(now, state, settings)
            now.able[BURST] = errors.alike
        shares = folding.weights(now, state, settings)
        steps = min(settings.steps, max(1, math.ceil(horizon_s / settings.bucket_s - 1e-9)))
        drawn_by, rows = _allotted(tuple(sampling.allotted(shares, n)))
        rates = now.means[drawn_by, :steps] + quieted(errors, state, steps)[rows, drawn_by]
        np.clip(rates, 0.0, CEILING * max(state.peak, now.level.per_s), out=rates)
        if step_s != settings.bucket_s or steps * step_s < horizon_s:
            rates = rates @ _regridded(steps, settings.bucket_s, math.ceil(horizon_s / step_s - 1e-9), step_s)
        ordered = np.sort(rates, axis=0)
        return Paths(
            at_s=history.until_s,
            step_s=step_s,
            rates=rates,
            drawn_by=drawn_by,
            methods=METHODS,
            weights={name: share for name, share in zip(METHODS, shares.tolist(), strict=True) if share > 0},
            mean=ordered.sum(axis=0) / n,
            lower=ordered[round(_BAND[0] * (n - 1))],
            upper=ordered[round(_BAND[1] * (n - 1))],
            coverage=state.scores.coverage(),
            level=now.level,
        )

    def _folded(self, counts: Floats, known: NDArray[np.bool_], at_s: float, state: ForecastState) -> ForecastState:
        """One bucket more, ending with `counts`, at `at_s`."""
        if not known.all():
            counts = counts[np.flatnonzero(~known)[-1] + 1 :]
        if counts.size < max(folding.LEAST_SECONDS, self._settings.bucket_s):
            return replace(folding.unknown(state, 1), closed_at_s=at_s)
        return folding.closed(counts, at_s, state, self._settings, self._fitter)


@cache
def _allotted(counts: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Method and drawn row of each path: each method's rows evenly over all of its draws."""
    drawn_by = np.repeat(np.arange(len(counts)), counts)
    rows = [(np.arange(count) + 0.5) * (DRAWS / count) for count in counts if count]
    return drawn_by, np.concatenate(rows).astype(np.int64)


@cache
def _regridded(buckets: int, bucket_s: float, steps: int, step_s: float) -> Floats:
    """Matrix (buckets, steps) of the share that each bucket has in each step; the last bucket goes on."""
    edges = np.append(np.arange(buckets) * bucket_s, np.inf)
    low = np.arange(steps) * step_s
    overlap = np.minimum(edges[None, 1:], low[:, None] + step_s) - np.maximum(edges[None, :-1], low[:, None])
    matrix: Floats = (np.maximum(overlap, 0.0) / step_s).T
    matrix.flags.writeable = False
    return matrix
