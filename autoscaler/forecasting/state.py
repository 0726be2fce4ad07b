"""What the forecast remembers from tick to tick, and what it hands out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from autoscaler.forecasting.calendar import Calendar
    from autoscaler.forecasting.fitting import FitRequest
    from autoscaler.forecasting.level import Level
    from autoscaler.forecasting.linear import Linear, Regression
    from autoscaler.forecasting.rows import Rows
    from autoscaler.forecasting.scoring import Coverage, Scores
    from autoscaler.model import ArrivalHistory

    Floats = NDArray[np.float64]

#: The methods, in the order of all arrays. `burst` draws whole paths from alike moments, the others errors.
METHODS = ("level", "trend", "regression", "autoreg", "ets", "season", "calendar", "burst")
LEVEL, TREND, REGRESSION, AUTOREG, ETS, SEASON, CALENDAR, BURST = range(len(METHODS))


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """What each method says at one moment."""

    level: Level
    #: Forecast rates by method; the level's where a method has none; 0 for `burst`. Shape (C, H).
    means: Floats
    #: Which methods have a forecast, shape (C,).
    able: NDArray[np.bool_]
    #: What the load looks like: square roots of the level, of the last minute's mean and of the half minute before.
    look: Floats
    #: 0 = calm, 1 = not long after a jump: the methods are judged apart.
    unsettled: int
    #: Rate by which errors are divided to be compared over time.
    scale: float
    #: Features of the regression.
    features: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """What came after past moments, less what was forecast then; for `burst` the whole rates."""

    #: As they were, Poisson noise in them, shape (m, C, H).
    raw: Floats
    #: Whether enough moments were alike to draw whole rates from.
    alike: bool


@dataclass(frozen=True, slots=True, eq=False)
class ForecastState:
    """A value: `Forecaster` makes new ones and leaves old ones as they are. Its size is bounded."""

    #: Newest counts; `None` before the first.
    history: ArrivalHistory | None
    #: End of the newest bucket.
    closed_at_s: float
    #: Rate by bucket, NaN where not known.
    buckets: Rows
    #: By bucket, at its end: look and scale, shape (4,); NaN where nothing was known.
    looks: Rows
    #: By bucket, at its end: forecast rates by method, shape (C, H).
    means: Rows
    #: By bucket, at its end: quantiles of the highest judged rate by method and combined; state and scale, (C + 2, 3).
    quantiles: Rows
    #: By bucket, at its end: features of the regression.
    features: Rows
    regression: Regression
    autoreg: Linear | None
    ets: Linear | None
    #: Fits asked for and not due yet.
    requests: tuple[FitRequest, ...]
    #: When each was last asked for.
    autoreg_at_s: float
    ets_at_s: float
    #: Profiles of the seasons of the calendar, the longest first.
    calendars: tuple[Calendar, ...]
    #: Season found, in buckets; `None` = none.
    period: int | None
    searched_at_s: float
    scores: Scores
    #: Drawn at the newest bucket's end; `None` before the first.
    errors: Errors | None
    #: Buckets ever appended when the newest unknown one came.
    unknown_at: int
    #: Mean square of the errors over the squared scale by method and step, and that of Poisson noise, shape (C, H).
    squares: Floats
    noise: float
    #: Mean rate of about the last hour, and the weight behind it.
    long_mean: float
    long_weight: float
    #: Variance over mean of the counts within a second, at least 1.
    dispersion: float
    #: Highest bucket kept.
    peak: float


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """Possible futures. Rates are means: the Poisson noise of single arrivals is not in them."""

    at_s: float
    step_s: float
    #: Records a second, shape (n, steps); step k is the time from k to k + 1 steps after `at_s`. Equally likely.
    rates: Floats
    #: Method of each path, by its place in `methods`, shape (n,).
    drawn_by: NDArray[np.int64]
    methods: tuple[str, ...]
    #: Share of the paths by method.
    weights: Mapping[str, float]
    #: Mean, 0.05 and 0.95 quantiles by step, for pictures, shape (steps,).
    mean: Floats
    lower: Floats
    upper: Floats
    #: How the forecasts before have done; `None` = none has come true yet.
    coverage: Coverage | None
    #: Level of now and whether it has just changed.
    level: Level
