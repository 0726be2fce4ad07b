"""What is arriving now and what may come: constant, ramp, step, noise and gaps."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.forecasting import ForecastMemory, changes, forecast
from autoscaler.forecasting.changes import Shape
from autoscaler.model import ArrivalHistory, Forecast
from autoscaler.settings import PolicySettings

SETTINGS = PolicySettings()
ALPHA = SETTINGS.change_significance


def history(counts: list[float | None], until_s: float = 1000.0) -> ArrivalHistory:
    """Counts by second up to `until_s`."""
    return ArrivalHistory.of(until_s, counts)


def poisson(rates: list[float], seed: int) -> np.ndarray:
    """Poisson counts at these rates."""
    return np.random.default_rng(seed).poisson(rates).astype(float)


def made(counts: list[float | None], horizon_s: float = 3.0) -> Forecast:
    """The forecast without memory; it must exist."""
    found, _ = forecast(history(counts), horizon_s, SETTINGS, ForecastMemory())
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(10))
def test_a_fourfold_step_is_seen_in_two_seconds(seed: int) -> None:
    """25/s to 100/s: after two seconds the level is the new one, not a mean of both."""
    found = changes.level(poisson([25] * 18 + [100] * 2, seed), ALPHA, 1.0)
    assert found.shape is Shape.STEP
    assert 75 < found.per_s < 125


@pytest.mark.parametrize("seed", range(10))
def test_a_ramp_is_told_from_a_step(seed: int) -> None:
    """A rise by 3/s each second is followed to its end, with its slope."""
    found = changes.level(poisson([25 + 3 * t for t in range(20)], seed), ALPHA, 1.0)
    assert found.shape is Shape.RAMP
    assert found.per_s == pytest.approx(82, rel=0.2)
    assert found.slope_per_s2 == pytest.approx(3, rel=0.4)


@pytest.mark.parametrize("seed", range(10))
def test_a_step_at_the_end_of_a_ramp_is_not_extrapolated(seed: int) -> None:
    """86/s to 160/s after a ramp by 4/s each second: a line through both would go on rising."""
    found = changes.level(poisson([30 + 4 * t for t in range(15)] + [160] * 5, seed), ALPHA, 1.0)
    assert found.shape is Shape.STEP
    assert found.per_s == pytest.approx(160, rel=0.12)


def test_constant_load_is_constant_for_an_hour() -> None:
    """In 3600 looks at Poisson noise of 25/s no step is seen and next to no ramp."""
    counts = poisson([25] * 3620, 11)
    shapes = [changes.level(counts[t : t + 20], ALPHA, 1.0).shape for t in range(3600)]
    assert shapes.count(Shape.STEP) == 0
    assert shapes.count(Shape.RAMP) < 36


def test_dispersion_is_blind_to_steps_and_sees_bursts() -> None:
    """Poisson counts with a step are Poisson; counts with ten times the variance are not."""
    assert changes.dispersion(poisson([25] * 60 + [100] * 60, 1)) < 1.5
    bursty = np.random.default_rng(1).negative_binomial(50 / 9, 1 / 10, size=120).astype(float)
    assert 4 < changes.dispersion(bursty) < 20


@given(
    counts=st.lists(st.integers(0, 500), min_size=3, max_size=200),
    horizon_s=st.floats(1, 60),
)
@settings(deadline=None, max_examples=60)
def test_the_upper_figure_is_never_below_now(counts: list[int], horizon_s: float) -> None:
    """For any history: lower <= mean <= upper, and upper at least what surely arrives now."""
    known = np.array(counts, dtype=float)
    found = made(list(known), horizon_s)
    assert 0 <= found.lower_per_s <= found.mean_per_s <= found.upper_per_s
    assert found.upper_per_s >= changes.floor_per_s(known, changes.dispersion(known[-120:])) - 1e-6
    assert np.isfinite(found.upper_per_s)


@pytest.mark.parametrize("level", [0.0, 25.0])
def test_a_constant_series_is_forecast_as_itself_without_a_warning(level: float) -> None:
    """The library drifts on constant and empty series, so it is not asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = made([level] * 300)
    assert found.method == "reactive"
    assert found.mean_per_s == level
    assert level <= found.upper_per_s <= level + 2


def test_too_little_history_is_reactive_and_enough_is_autoregressive() -> None:
    """AutoReg needs a minute; before that the forecast is there all the same."""
    counts = list(poisson([50] * 300, 2))
    assert made(counts[:30]).method == "reactive"
    assert made(counts).method == "autoreg"
    assert made(counts).history_s == 300


def test_fewer_than_three_known_seconds_are_no_forecast() -> None:
    """Two counts are noise; a hole at the end is not known."""
    for counts in ([], [5.0, 6.0], [5.0] * 50 + [None]):
        found, _ = forecast(history(counts), 3.0, SETTINGS, ForecastMemory())
        assert found is None


def test_only_what_came_after_a_hole_is_used() -> None:
    """Unknown seconds are not bridged by guesses."""
    assert made([500.0] * 100 + [None] + [20.0] * 10).mean_per_s == 20


def test_a_smooth_load_is_not_sized_for_its_poisson_noise() -> None:
    """The queueing formulas hold the noise already: the upper figure of constant 100/s stays within 12 %."""
    uppers = [made(list(poisson([100] * 300, seed))).upper_per_s for seed in range(10)]
    assert 98 < np.median(uppers) < 112


def test_a_wave_is_seen_coming() -> None:
    """On a sine of 60 s the autoregression at its foot expects more within 10 s than arrives now."""
    t = np.arange(600)
    rates = 200 + 150 * np.sin(2 * np.pi * t / 60)
    counts = poisson(list(rates), 3)[:585]
    found = made(list(counts), 10.0)
    assert rates[584] == pytest.approx(50, abs=10)
    assert found.method == "autoreg"
    assert found.mean_per_s > 90


def test_after_a_step_the_old_regime_is_not_fitted() -> None:
    """Once the step has left the short window, its jump does not come back as a residual that orders workers."""
    counts = list(poisson([25] * 120 + [100] * 45, 4))
    memory = ForecastMemory()
    uppers = []
    for end in range(100, 165):
        found, memory = forecast(history(list(counts[:end]), float(end)), 3.0, SETTINGS, memory)
        assert found is not None
        uppers.append(found.upper_per_s)
    assert memory.regime_from_s is not None
    assert max(uppers[-20:]) < 125


def test_the_fit_is_kept_between_refits() -> None:
    """Coefficients are fitted anew only after `autoreg_refit_s`."""
    counts = list(poisson([50] * 400, 5))
    _, first = forecast(history(list(counts[:300]), 300.0), 3.0, SETTINGS, ForecastMemory())
    _, second = forecast(history(list(counts[:305]), 305.0), 3.0, SETTINGS, first)
    _, third = forecast(history(list(counts[:310]), 310.0), 3.0, SETTINGS, second)
    assert first.fit is second.fit
    assert third.fit is not second.fit


def test_the_same_history_gives_the_same_forecast() -> None:
    """Paths are drawn with a fixed seed: a tape decided again decides the same."""
    counts = list(poisson([50] * 300, 6))
    assert made(counts, 20.0) == made(counts, 20.0)
