"""What a forecast must beat: the last rate, the rate a season ago, and an ARIMA model as in the text books."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Protocol

import numpy as np

from autoscaler.forecasting.scoring import QUANTILES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Seconds whose mean is the last rate.
_LAST_S = 10
#: Errors that the empirical quantiles are taken from: an hour of buckets of 5 s.
_ERRORS = 720
#: Fewest errors, or a quantile of 0.9 means nothing.
_LEAST_ERRORS = 24
#: Order of the ARIMA model, buckets that it is fitted to, buckets between two fits, iterations of a fit.
ARIMA_ORDER = (2, 1, 1)
_ARIMA_BUCKETS, _ARIMA_EVERY, _ARIMA_ITERATIONS = 240, 240, 30
_ARIMA_LEAST = 60
#: Simulated paths for the quantiles of the highest rate.
_ARIMA_PATHS = 200


class Baseline(Protocol):
    """Forecasts the quantiles of the highest bucket rate; sees the buckets one by one."""

    def ahead(self, buckets: Floats, steps: int) -> Floats | None:
        """Quantiles (`QUANTILES`) of the highest of the next `steps` rates, shape (3,); `None` = cannot say yet."""


class _Empirical:
    """A guess of the highest rate, with the quantiles of its own past errors around it."""

    def __init__(self) -> None:
        self._guesses: list[float] = []

    def _around(self, guess: float, buckets: Floats, steps: int) -> Floats | None:
        """Quantiles around a guess made now; the guess is kept to see what it was worth."""
        self._guesses.append(guess)
        made = len(self._guesses) - steps
        if made < 1:
            return None
        made = min(made, _ERRORS)
        guesses = np.array(self._guesses[-steps - made : -steps])
        newest = buckets[-(made + steps) + 1 :]
        highest = np.lib.stride_tricks.sliding_window_view(newest, steps).max(axis=1)
        errors = (highest - guesses[-highest.size :])[~np.isnan(guesses[-highest.size :])]
        if errors.size < _LEAST_ERRORS or np.isnan(guess):
            return None
        return np.asarray(guess + np.quantile(errors, QUANTILES))


class Naive(_Empirical):
    """The rate of the last ten seconds goes on."""

    def __init__(self, bucket_s: int) -> None:
        super().__init__()
        self._buckets = max(1, round(_LAST_S / bucket_s))

    def ahead(self, buckets: Floats, steps: int) -> Floats | None:
        """See `Baseline`."""
        return self._around(float(buckets[-self._buckets :].mean()), buckets, steps)


class SeasonalNaive(_Empirical):
    """What came a season ago comes again."""

    def __init__(self, season: int) -> None:
        """With the season's length in buckets."""
        super().__init__()
        self._season = season

    def ahead(self, buckets: Floats, steps: int) -> Floats | None:
        """See `Baseline`."""
        start = buckets.size - self._season
        after = buckets[start : start + steps] if start >= 0 else buckets[:0]
        return self._around(float(after.max()) if after.size else np.nan, buckets, steps)


class PlainArima:
    """ARIMA by statsmodels with Gaussian errors, fitted again now and then, its paths simulated."""

    def __init__(self) -> None:
        self._since = _ARIMA_EVERY
        self._model: tuple[Floats, float, float] | None = None

    def ahead(self, buckets: Floats, steps: int) -> Floats | None:
        """See `Baseline`."""
        self._since += 1
        if self._since >= _ARIMA_EVERY and buckets.size >= _ARIMA_LEAST:
            self._since = 0
            self._model = _arima(buckets[-_ARIMA_BUCKETS:])
        if self._model is None:
            return None
        phi, theta, sigma = self._model
        return _highest(buckets[-_ARIMA_BUCKETS:], phi, theta, sigma, steps)


def _arima(rates: Floats) -> tuple[Floats, float, float] | None:
    """Coefficients of the differences (two lags, one error) and the standard deviation of the errors."""
    from statsmodels.tsa.arima.model import ARIMA  # noqa: PLC0415 - deferred: it costs seconds and 130 MB

    scale = float(np.abs(rates).mean())
    if scale <= 0 or float(np.ptp(rates)) < 1e-9:  # noqa: PLR2004 - a constant has no ARIMA
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = ARIMA(rates / scale, order=ARIMA_ORDER)
            found = model.fit(method_kwargs={"maxiter": _ARIMA_ITERATIONS})
        except (ValueError, np.linalg.LinAlgError):
            return None
    first, second, theta, variance = np.asarray(found.params, dtype=np.float64).tolist()
    return np.array([first, second]), theta, scale * float(np.sqrt(max(variance, 0.0)))


def _highest(rates: Floats, phi: Floats, theta: float, sigma: float, steps: int) -> Floats:
    differences = np.diff(rates)
    error = 0.0
    for i in range(2, differences.size):
        error = differences[i] - phi[0] * differences[i - 1] - phi[1] * differences[i - 2] - theta * error
    noise = np.random.default_rng(3).normal(scale=sigma, size=(steps, _ARIMA_PATHS))
    one, two = np.full(_ARIMA_PATHS, differences[-1]), np.full(_ARIMA_PATHS, differences[-2])
    before = np.full(_ARIMA_PATHS, error)
    rate = np.full(_ARIMA_PATHS, rates[-1])
    highest = np.zeros(_ARIMA_PATHS)
    for step in range(steps):
        one, two = phi[0] * one + phi[1] * two + noise[step] + theta * before, one
        before = noise[step]
        rate += one
        np.maximum(highest, rate, out=highest)
    return np.asarray(np.quantile(highest, QUANTILES))
