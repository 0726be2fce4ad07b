"""Sample paths: what they promise whatever the load, and how good they are where the right answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autoscaler.forecasting.calendar import Calendar
from autoscaler.forecasting.fitting import FitRequest, fit
from autoscaler.forecasting.forecaster import Forecaster
from autoscaler.forecasting.level import level
from autoscaler.forecasting.rows import Rows
from autoscaler.forecasting.season import period
from autoscaler.forecasting.settings import ForecastSettings
from autoscaler.model import ArrivalHistory

if TYPE_CHECKING:
    from autoscaler.forecasting.state import ForecastState, Paths

SETTINGS = ForecastSettings()
START_S = 1_700_000_000.0


def history(counts: np.ndarray, until: int, known: np.ndarray | None = None) -> ArrivalHistory:
    """The last 600 s up to a second of the load."""
    first = max(0, until - 600)
    mask = np.ones(until - first, dtype=bool) if known is None else known[first:until]
    return ArrivalHistory(START_S + until, np.where(mask, counts[first:until], 0.0), mask, {})


def followed(counts: np.ndarray, known: np.ndarray | None = None, *, every: int = 1) -> ForecastState:
    """The state after a load was seen tick by tick."""
    forecaster = Forecaster(SETTINGS)
    state = forecaster.initial()
    for until in range(every, counts.size + 1, every):
        state = forecaster.update(history(counts, until, known), state)
    return state


def ahead(state: ForecastState, horizon_s: float = 30.0, step_s: float = 5.0, n: int = 100) -> Paths:
    """Paths after the newest second, which there are."""
    paths = Forecaster(SETTINGS).paths(state, horizon_s, step_s, n)
    assert paths is not None
    return paths


def poisson(rate: np.ndarray | float, seconds: int, seed: int) -> np.ndarray:
    """Counts by second."""
    return np.random.default_rng(seed).poisson(rate, seconds).astype(np.float64)


def test_paths_are_not_negative_finite_and_the_same_again() -> None:
    """On bursts, silence and a gap alike."""
    rng = np.random.default_rng(5)
    rate = np.repeat(rng.choice([0.0, 3.0, 80.0, 900.0], 50), 10)
    counts = rng.poisson(rate).astype(np.float64)
    known = np.ones(counts.size, dtype=bool)
    known[300:340] = False
    forecaster = Forecaster(SETTINGS)
    states = [forecaster.initial(), forecaster.initial()]
    for until in range(1, counts.size + 1):
        if until % 2 and until % 7:
            continue
        states = [forecaster.update(history(counts, until, known), state) for state in states]
        if until % 7 == 0:
            first, second = (forecaster.paths(state, 90.0, 5.0, 64) for state in states)
            if first is None or second is None:
                assert first is None
                assert second is None
                assert history(counts, until, known).recent.size < 3
                continue
            assert first.rates.shape == (64, 18)
            assert np.isfinite(first.rates).all()
            assert first.rates.min() >= 0
            assert np.array_equal(first.rates, second.rates)
            assert sum(first.weights.values()) == pytest.approx(1, abs=1e-4)


def test_an_older_state_is_left_as_it_was() -> None:
    """Two futures of one state do not meet, and the state itself gives the same paths as before."""
    counts = poisson(200.0, 400, 3)
    forecaster = Forecaster(SETTINGS)
    state = followed(counts)
    before = ahead(state).rates.copy()
    high, low = state, state
    for second in range(1, 60):
        high = forecaster.update(history(np.append(counts, np.full(second, 800.0)), 400 + second), high)
        low = forecaster.update(history(np.append(counts, np.full(second, 50.0)), 400 + second), low)
    assert np.array_equal(ahead(state).rates, before)
    assert ahead(high).mean.min() > 500
    assert ahead(low).mean.max() < 150


def test_constant_load_is_forecast_as_constant() -> None:
    """Poisson noise is left out: its standard deviation is 3.2 % for a bucket of 200/s; the paths stay within 4 %.

    The mean of 144 s is exact to 0.6 %; what is left of the noise after the deduction is below a quarter of it.
    """
    paths = ahead(followed(poisson(200.0, 900, 1)))
    assert paths.rates.min() > 200 * 0.93
    assert paths.rates.max() < 200 * 1.07
    assert np.quantile(paths.rates.max(axis=1), 0.9) < 200 * 1.04


@pytest.mark.parametrize(("before", "after"), [(25.0, 100.0), (300.0, 1500.0), (1500.0, 300.0), (200.0, 280.0)])
def test_a_step_is_adopted_within_3_seconds(before: float, after: float) -> None:
    """Whatever the methods learnt before, the mean path starts within 15 % of the new rate after 3 s.

    Three counts of 100/s have a standard deviation of 6 %, so 15 % is 2.6 of them.
    """
    counts = np.append(poisson(before, 600, 2), poisson(after, 3, 7))
    paths = ahead(followed(counts))
    assert paths.level.jumped_s == pytest.approx(3, abs=1)
    assert paths.level.per_s == pytest.approx(after, rel=0.15)
    assert paths.mean[0] == pytest.approx(after, rel=0.15)


def test_a_ramp_is_followed() -> None:
    """From 300/s at 3/s more each second: 30 s ahead the mean is within 6 % of the line and above the last level."""
    seconds = np.arange(600)
    line = 300.0 + 3.0 * seconds
    paths = ahead(followed(np.random.default_rng(4).poisson(line).astype(np.float64)))
    assert paths.mean[-1] == pytest.approx(300 + 3 * (600 + 27.5), rel=0.06)
    assert paths.mean[-1] > line[-1]


def test_a_recording_gap_is_not_silence() -> None:
    """Two minutes without samples: no paths, then those of the known seconds; three counts have 3 %."""
    counts = poisson(400.0, 900, 6)
    known = np.ones(900, dtype=bool)
    known[500:620] = False
    forecaster = Forecaster(SETTINGS)
    state = forecaster.initial()
    for until in range(1, 901):
        state = forecaster.update(history(counts, until, known), state)
        paths = forecaster.paths(state, 30.0, 5.0, 64)
        if 501 <= until < 623:
            assert paths is None
        elif until > 60:
            assert paths is not None
            assert paths.mean == pytest.approx(np.full(6, 400.0), rel=0.08)


def test_ticks_that_fail_leave_a_gap_and_no_more() -> None:
    """After an hour without a tick the forecast goes on from the history that is there."""
    counts = poisson(400.0, 300, 8)
    state = followed(counts)
    later = ArrivalHistory(START_S + 3900, counts, np.ones(300, dtype=bool), {})
    after = Forecaster(SETTINGS).update(later, state)
    assert ahead(after).mean == pytest.approx(np.full(6, 400.0), rel=0.05)


@pytest.mark.parametrize("kind", ["stationary", "ramp"])
def test_coverage_is_what_it_says(kind: str) -> None:
    """The highest of the next 30 s stays within the 0.9 quantile in 90 % of the cases.

    Tolerance 8 points: about 35 independent stretches of 30 s give a standard deviation of 5 points; the calibration
    pulls towards 90 %.
    """
    seconds = np.arange(1800)
    rate = np.full(1800, 300.0) if kind == "stationary" else 200.0 + 0.4 * seconds
    state = followed(np.random.default_rng(9).poisson(rate).astype(np.float64))
    coverage = state.scores.coverage()
    assert coverage is not None
    assert coverage.judged > 300
    assert coverage.by_quantile[0.9] == pytest.approx(0.9, abs=0.08)


def test_bursts_that_come_again_are_expected() -> None:
    """Bursts of 1000/s for 10 s in every 60 s, silence between: a third of the paths see one in the next 20 s or so.

    20 of 60 s begin within 20 s of a burst and 10 lie inside one: half of the moments in silence see one within 25 s.
    """
    at = np.arange(2400)
    rng = np.random.default_rng(11)
    starts = np.cumsum(rng.integers(40, 80, 60))
    on = np.zeros(2400, dtype=bool)
    for start in starts:
        on[start : start + 10] = True
    counts = np.where(on, rng.poisson(1000.0, at.size), 0).astype(np.float64)
    last = int(starts[starts < 2300][-1]) + 40
    paths = ahead(followed(counts[:last]), 40.0)
    highest = paths.rates.max(axis=1)
    assert 0.3 < float((highest > 500).mean()) <= 1
    assert highest.max() < 1500


def test_memory_is_bounded_and_old_rows_stay_readable() -> None:
    """Also after copies, and two values made from the same one do not meet."""
    rows = Rows(10)
    for number in range(1000):
        rows = rows.append(float(number))
    assert len(rows) == 10
    assert rows.total == 1000
    assert rows.array.tolist() == list(range(990, 1000))
    assert rows._array.size == 20
    branches = [rows.append(1.0), rows.append(2.0)]
    assert [branch.array[-1] for branch in branches] == [1.0, 2.0]
    assert rows.array[-1] == 999.0


def test_the_level_after_a_step_is_the_mean_since_the_step() -> None:
    """And of the longest window before it."""
    counts = np.append(poisson(200.0, 100, 1), poisson(1000.0, 5, 1))
    now = level(counts, 1.0)
    assert now.jumped_s == 5
    assert now.window_s == 5
    assert now.per_s == pytest.approx(counts[-5:].mean())
    assert level(counts[:100], 1.0).window_s == 100


def test_a_period_is_found_and_noise_has_none() -> None:
    """A sine, noise, and pulses with a gap in the recording."""
    at = np.arange(1500)
    noise = np.random.default_rng(3).normal(size=1500)
    assert period(100 + 50 * np.sin(2 * np.pi * at / 120) + 5 * noise) == pytest.approx(120, abs=2)
    assert period(100 + 5 * noise) is None
    gappy = 100 + 50.0 * (at % 90 > 60)
    gappy[400:430] = np.nan
    assert period(gappy) == pytest.approx(90, abs=2)


def test_a_calendar_knows_what_comes_at_the_same_time_of_the_day() -> None:
    """A peak of five times the rate in one minute of each hour-long day, on a level that doubles with every day."""
    profile = Calendar.initial(3600.0, 5.0)
    start_s = 3600.0 * 400_000
    for bucket in range(2 * 720 + 200):
        at_s = start_s + 5 * (bucket + 1)
        second = (5 * bucket) % 3600
        day = bucket // 720
        rate = 2.0**day * (500.0 if 1200 <= second < 1260 else 100.0)
        assert profile.ahead(at_s, rate, 18, 5.0) is None or day >= 2
        profile = profile.learnt(at_s, rate, 5.0)
    at_s = start_s + 2 * 3600 + 1000
    calm = profile.ahead(at_s - 200, 400.0, 6, 5.0)
    assert calm == pytest.approx(np.full(6, 400.0), rel=0.35)
    peak = profile.ahead(start_s + 2 * 3600 + 1180, 400.0, 12, 5.0)
    assert peak is not None
    assert peak.max() == pytest.approx(2000.0, rel=0.05)
    assert peak[0] == pytest.approx(400.0, rel=0.1)


def test_fits_agree_with_statsmodels() -> None:
    """The matrices give what the library forecasts itself."""
    from statsmodels.tsa.ar_model import AutoReg  # noqa: PLC0415 - slow to import

    rng = np.random.default_rng(0)
    rates = 1000 + np.cumsum(rng.normal(size=200)) * 5 + rng.normal(size=200) * 10
    found = fit(FitRequest("autoreg", 0.0, rates, 10, 18))
    assert found is not None
    expected = AutoReg(rates, lags=10, trend="c").fit().forecast(18)
    assert found.ahead(rates[-60:]) == pytest.approx(expected, rel=1e-9)
    assert fit(FitRequest("autoreg", 0.0, np.full(200, 7.0), 10, 18)) is None
    smooth = fit(FitRequest("ets", 0.0, rates[-144:], 10, 18))
    assert smooth is not None
    assert smooth.ahead(rates[-60:])[0] == pytest.approx(rates[-1], rel=0.05)


@pytest.mark.parametrize(
    ("field", "value"), [("bucket_s", 0), ("judged_s", 95.0), ("errors_s", 10.0), ("half_life_s", 0.0)]
)
def test_settings_that_make_no_sense_are_refused(field: str, value: float) -> None:
    """By name."""
    with pytest.raises(ValueError, match=field):
        replace(SETTINGS, **{field: value})


def test_a_restart_that_is_fed_the_same_counts_forecasts_the_same() -> None:
    """Ten minutes at once are folded in as if they had come second by second."""
    counts = poisson(150.0, 600, 12)
    forecaster = Forecaster(SETTINGS)
    at_once = forecaster.update(history(counts, 600), forecaster.initial())
    assert np.array_equal(ahead(at_once).rates, ahead(followed(counts)).rates)
