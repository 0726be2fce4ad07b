"""Figures of a workload against loads whose truth is known. Tolerances: see each test."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.planning import workload as figures
from autoscaler.planning.workload import Workload


def _load(counts: np.ndarray, width_s: float = 1.0, starts_at_s: float | None = None) -> Workload:
    return Workload(width_s, counts.astype(np.float64), np.ones(len(counts), dtype=bool), starts_at_s)


def test_poisson_arrivals_have_an_index_of_one_at_every_scale() -> None:
    """Its 95 % interval holds 1 at each scale for this seed; the estimate is within three standard errors."""
    found = figures.dispersions(_load(np.random.default_rng(5).poisson(4.0, 20_000)))
    assert [entry.scale_s for entry in found] == [1, 10, 60, 600]
    for entry in found:
        assert entry.index == pytest.approx(1, abs=3 * np.sqrt(2 / entry.windows))
        assert entry.local_low <= 1.0 <= entry.local_high


def test_batched_arrivals_have_the_index_of_their_batches() -> None:
    """Groups of 5 at Poisson moments: variance over mean is 5, whatever the scale (20,000 windows: within 5 %)."""
    found = figures.dispersions(_load(5 * np.random.default_rng(6).poisson(0.8, 20_000)))
    assert found[0].local == pytest.approx(5, rel=0.05)
    assert found[0].index == pytest.approx(5, rel=0.05)


def test_a_day_and_night_is_variance_to_the_index_and_none_to_the_local_one() -> None:
    """A day and night is variance to the index and none to the local one."""
    at_s = np.arange(6 * 24 * 60) * 60.0
    rate = 50 * (1 + 0.8 * np.sin(2 * np.pi * at_s / 86_400))
    found = figures.dispersions(_load(np.random.default_rng(7).poisson(rate * 60), 60.0))
    hourly = next(entry for entry in found if entry.scale_s == 3600)
    assert hourly.index > 1000
    # From hour to hour the rate moves too, so it is not 1; but far below.
    assert hourly.local < hourly.index / 10


def test_a_daily_season_is_found_and_noise_is_none() -> None:
    """A daily season is found and noise is none."""
    rng = np.random.default_rng(8)
    at_s = np.arange(8 * 24 * 12) * 300.0
    daily = figures.seasons(_load(rng.poisson(3000 * (1.2 + np.sin(2 * np.pi * at_s / 86_400))), 300.0))
    day = next(season for season in daily if season.name == "day")
    assert day.strength > 0.95
    assert day.cycles == 8
    # The sine's top is a quarter into the day.
    assert 5 <= int(np.argmax(day.profile_per_s)) <= 6
    flat = figures.seasons(_load(rng.poisson(3000, 8 * 24 * 12), 300.0))
    assert all(season.strength < figures.SEASON_STRENGTH for season in flat)


def test_hours_are_those_of_the_clock_where_it_is_known() -> None:
    """The record begins at 12:00 UTC with its busiest hour; so hour 12 is the busiest."""
    counts = np.tile(np.r_[100, np.zeros(23)], 5)
    load = _load(counts, 3600.0, starts_at_s=12 * 3600.0)
    day = next(season for season in figures.seasons(load) if season.name == "day")
    assert int(np.argmax(day.profile_per_s)) == 12


def test_growth_is_told_with_an_interval_and_none_where_there_is_none() -> None:
    """From 80 to 120 a bin: 40 % of the mean. The interval of a flat load holds 0 (seed chosen once)."""
    rng = np.random.default_rng(9)
    grown = figures.trend(_load(rng.poisson(np.linspace(80, 120, 4000))), ())
    assert grown is not None
    assert grown.told
    assert grown.growth == pytest.approx(0.4, abs=0.05)
    assert grown.low < grown.growth < grown.high
    flat = figures.trend(_load(rng.poisson(np.full(4000, 100))), ())
    assert flat is not None
    assert not flat.told


def test_a_gap_is_no_silence() -> None:
    """Rates, peaks and windows pass over what was not recorded."""
    counts, known = np.full(100, 3.0), np.ones(100, dtype=bool)
    counts[40:60], known[40:60] = 0.0, False
    load = Workload(1.0, counts, known)
    assert load.mean_per_s == 3.0
    assert load.highest_per_s(30) == 3.0
    assert load.highest_per_s(50) is None
    assert set(load.windows(10)) == {30.0}
    assert figures.gaps(load) == ((40.0, 20.0),)
    assert figures.silences(load, 10.0) == ()


def test_a_silence_that_chance_does_not_explain_is_named() -> None:
    """A silence that chance does not explain is named."""
    counts = np.full(100, 3.0)
    counts[40:60] = 0.0
    assert figures.silences(_load(counts), 10.0) == ((40.0, 20.0),)
    assert figures.silences(_load(counts), 100.0) == ()


def test_spikes_are_apart_and_the_busiest_comes_first() -> None:
    """Spikes are apart and the busiest comes first."""
    counts = np.ones(1000)
    counts[200:202], counts[203], counts[700] = 50, 40, 30
    found = figures.spikes(_load(counts), seconds=1.0, most=2)
    assert [spike.at_s for spike in found] == [200.0, 700.0]


def test_skew_tells_uneven_keys_from_chance() -> None:
    """Skew tells uneven keys from chance."""
    even = figures.skew({0: 1010, 1: 980, 2: 1005, 3: 1005})
    uneven = figures.skew({0: 2000, 1: 600, 2: 700, 3: 700})
    assert even is not None
    assert uneven is not None
    assert even.p_even > 0.1
    assert (uneven.busiest, uneven.times_even) == (0, 2.0)
    assert uneven.p_even < 1e-6
    assert figures.skew({0: 5}) is None
