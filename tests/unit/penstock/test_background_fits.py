"""Fits in a thread of their own give what fits in the tick give."""

from __future__ import annotations

import numpy as np

from autoscaler.forecasting import Forecaster, ForecastSettings
from autoscaler.forecasting.fitting import FitRequest, fit
from autoscaler.model import ArrivalHistory
from penstock.background_fits import BackgroundFitter


def test_forecasts_are_the_same_as_with_fits_in_the_tick() -> None:
    """To the last bit, and both kinds of fit were in use."""
    counts = np.random.default_rng(3).poisson(200 + 80 * np.sin(np.arange(420) / 20)).astype(np.float64)
    fitter = BackgroundFitter()
    try:
        forecasters = [Forecaster(ForecastSettings()), Forecaster(ForecastSettings(), fitter)]
        states = [forecaster.initial() for forecaster in forecasters]
        for until in range(5, 421, 5):
            history = ArrivalHistory(float(until), counts[:until], np.ones(until, dtype=bool), {})
            states = [one.update(history, state) for one, state in zip(forecasters, states, strict=True)]
        inline, beside = (one.paths(state, 30.0, 5.0, 64) for one, state in zip(forecasters, states, strict=True))
    finally:
        fitter.close()
    assert inline is not None
    assert beside is not None
    assert states[1].autoreg is not None
    assert states[1].ets is not None
    assert np.array_equal(inline.rates, beside.rates)


def test_what_was_never_begun_is_fitted_and_what_is_given_up_is_forgotten() -> None:
    """A state from before a restart, and a clock that is set back again and again."""
    rates = 100 + np.cumsum(np.random.default_rng(1).normal(size=80))
    requests = [FitRequest("autoreg", 0.0, rates + number, 3, 6) for number in range(30)]
    fitter = BackgroundFitter()
    try:
        for request in requests[1:]:
            fitter.submit(request)
        assert len(fitter._under_way) == 8
        for request in (requests[0], requests[29], requests[29]):
            found, expected = fitter.result(request), fit(request)
            assert found is not None
            assert expected is not None
            assert np.array_equal(found.weights, expected.weights)
    finally:
        fitter.close()
