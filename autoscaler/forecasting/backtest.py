"""The forecaster run over recorded counts, beside simple methods: what each said, and what came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.forecasting.baselines import Naive, PlainArima, SeasonalNaive
from autoscaler.forecasting.forecaster import Forecaster
from autoscaler.forecasting.scoring import QUANTILES, pinball
from autoscaler.forecasting.state import METHODS
from autoscaler.model import ArrivalHistory

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from autoscaler.forecasting.baselines import Baseline
    from autoscaler.forecasting.settings import ForecastSettings

    Floats = NDArray[np.float64]

#: Name of the weighted combination.
COMBINATION = "combination"
#: The same, without Poisson noise: the paths that a plan is made on.
PATHS = "paths"
NAIVE, SEASONAL, ARIMA = "naive", "seasonal-naive", "arima"
#: Seconds at the start that are not judged: nothing is known yet.
WARM_UP_S = 120
#: Seconds of counts that the forecaster is shown, as in a pipeline.
_HISTORY_S = 600
#: Paths drawn.
_PATHS = 100


@dataclass(frozen=True, slots=True)
class Score:
    """How one method did. Losses are sums of pinball losses in per cent of the mean rate."""

    name: str
    #: Forecasts judged.
    judged: int
    #: By quantile.
    loss: dict[float, float]
    #: Sum over the quantiles.
    total: float
    #: Its total over that of the naive method at the same moments; `None` = naive lost nothing.
    over_naive: float | None
    #: Share of the highest rates at or below each quantile.
    coverage: dict[float, float]
    #: Mean share of the paths; `None` for what does not compete.
    weight: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Backtest:
    """A run."""

    scores: tuple[Score, ...]
    #: Moments judged, seconds since the start, shape (n,).
    at_s: Floats
    #: Highest bucket rate of the horizon after each, shape (n,).
    actual: Floats
    #: Forecast quantiles by method name, shape (n, 3), NaN where there was none.
    quantiles: dict[str, Floats]
    #: Shares of the paths by moment and method, shape (n, C).
    weights: Floats
    #: Seconds of processor time: mean and 99th percentile of a tick (fold in and draw), fits of statsmodels in it.
    tick_mean_s: float
    tick_p99_s: float


def backtest(
    counts: Floats,
    settings: ForecastSettings,
    *,
    season_s: float | None,
    clock: Callable[[], float],
    progress: Callable[[float], None] = lambda _: None,
) -> Backtest:
    """Forecast the highest rate within `settings.judged_s` after every bucket, and compare.

    Args:
        counts: Arrivals by second.
        settings: Of the forecaster.
        season_s: Season of the seasonal naive method, in seconds; `None` = leave it out.
        clock: Processor time in seconds, to say what a tick costs.
        progress: Told the share that is done.

    Raises:
        ValueError: `counts` is too short to judge a single forecast.
    """
    bucket_s, steps = settings.bucket_s, settings.judged_steps
    last = counts.size - steps * bucket_s
    if last <= WARM_UP_S:
        raise ValueError(f"{counts.size} s of counts: need more than {WARM_UP_S + steps * bucket_s} s")
    forecaster = Forecaster(settings)
    state = forecaster.initial()
    whole = counts.size // bucket_s
    rates = counts[: whole * bucket_s].reshape(whole, bucket_s).sum(axis=1) / bucket_s
    baselines: dict[str, Baseline] = {NAIVE: Naive(bucket_s), ARIMA: PlainArima()}
    if season_s is not None:
        baselines[SEASONAL] = SeasonalNaive(round(season_s / bucket_s))
    names = (COMBINATION, PATHS, *METHODS, *baselines)
    said: dict[str, list[Floats]] = {name: [] for name in names}
    at_s, actual, shares, ticks = [], [], [], []
    nothing = np.full(QUANTILES.size, np.nan)
    for bucket in range(1, last // bucket_s + 1):
        until = bucket * bucket_s
        first = max(0, until - _HISTORY_S)
        history = ArrivalHistory(float(until), counts[first:until], np.ones(until - first, dtype=bool), {})
        begun = clock()
        state = forecaster.update(history, state)
        paths = forecaster.paths(state, settings.judged_s, bucket_s, _PATHS)
        ticks.append(clock() - begun)
        simple = {name: baseline.ahead(rates[:bucket], steps) for name, baseline in baselines.items()}
        if until <= WARM_UP_S or paths is None:
            continue
        progress(bucket / (last // bucket_s))
        foreseen = state.quantiles.array[-1]
        said[COMBINATION].append(foreseen[len(METHODS)])
        said[PATHS].append(np.quantile(paths.rates.max(axis=1), QUANTILES))
        for method, name in enumerate(METHODS):
            said[name].append(foreseen[method])
        for name, quantiles in simple.items():
            said[name].append(nothing if quantiles is None else quantiles)
        at_s.append(float(until))
        actual.append(float(rates[bucket : bucket + steps].max()))
        shares.append([paths.weights.get(name, 0.0) for name in METHODS])
    weights = np.array(shares)
    by_name = {name: np.array(rows) for name, rows in said.items()}
    came = np.array(actual)
    mean = float(counts.mean()) or 1.0
    spent = np.array(ticks)
    return Backtest(
        scores=tuple(_score(name, by_name, came, weights, mean) for name in names),
        at_s=np.array(at_s),
        actual=came,
        quantiles=by_name,
        weights=weights,
        tick_mean_s=float(spent.mean()),
        tick_p99_s=float(np.quantile(spent, 0.99)),
    )


def _score(name: str, said: dict[str, Floats], actual: Floats, weights: Floats, mean: float) -> Score:
    mine, naive = said[name], said[NAIVE]
    known = ~np.isnan(mine[:, 0])
    errors = actual[known, None] - mine[known]
    losses = np.maximum(QUANTILES * errors, (QUANTILES - 1) * errors) * (100 / mean)
    both = known & ~np.isnan(naive[:, 0])
    ours, theirs = (float(pinball(rows[both], actual[both, None]).sum()) for rows in (mine, naive))
    judged = int(known.sum())
    average = losses.mean(axis=0) if judged else np.zeros(QUANTILES.size)
    covered = (errors <= 0).mean(axis=0) if judged else np.zeros(QUANTILES.size)
    keys = QUANTILES.tolist()
    return Score(
        name=name,
        judged=judged,
        loss=dict(zip(keys, average.round(4).tolist(), strict=True)),
        total=round(float(average.sum()), 4),
        over_naive=round(ours / theirs, 4) if theirs > 0 else None,
        coverage=dict(zip(keys, covered.round(4).tolist(), strict=True)),
        weight=round(float(weights[:, METHODS.index(name)].mean()), 4) if name in METHODS else None,
    )
