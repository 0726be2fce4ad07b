"""Loads of simulations: scaled to the wanted rate, and no more or less clustered than stated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoscaler.model import ServiceCurve
from autoscaler.simulation.arrivals import Load, Stretch, of_pattern, of_trace, shares
from autoscaler.simulation.patterns import PATTERNS
from autoscaler.simulation.scenario import REFERENCE_TYPE, Scenario, SimulatedType
from autoscaler.simulation.trace import Trace

SMALL = Scenario(partitions=12, mean_rate=50.0, mean_workers=None)


def trace_of(counts: list[int], width_s: float = 1.0, starts_s: list[float] | None = None) -> Trace:
    """A trace of these counts."""
    starts = np.arange(len(counts), dtype=np.float64) * width_s if starts_s is None else np.array(starts_s)
    return Trace("t.csv", starts, np.full(len(counts), width_s), np.array(counts), 0.0)


def dispersion(load: Load, width_s: float = 1.0) -> float:
    """Variance over mean of the counts in bins of `width_s`."""
    counts = np.bincount((load.arrivals_s / width_s).astype(int), minlength=int(load.length_s / width_s))
    return float(counts.var() / counts.mean())


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_has_the_wanted_mean(name: str) -> None:
    """Within four standard errors of a Poisson count."""
    load = of_pattern(PATTERNS[name], SMALL, length_s=1800.0)
    assert load.arrivals_s.size == pytest.approx(90_000, abs=4 * 300)
    assert (np.diff(load.arrivals_s) >= 0).all()
    assert 0 <= load.arrivals_s[0] <= load.arrivals_s[-1] < 1800.0
    assert set(np.unique(load.partition_of)) == set(range(12))


def test_the_step_is_fivefold_and_the_sawtooth_sixfold() -> None:
    """Rates of the middle third against the first; of a tooth's last minute against its first. 4 standard errors."""
    step = np.histogram(of_pattern(PATTERNS["step5"], SMALL).arrivals_s, [0, 1200, 2400, 3600])[0]
    assert step[1] / step[0] == pytest.approx(5, rel=4 * step[0] ** -0.5)
    tooth = np.histogram(of_pattern(PATTERNS["sawtooth6"], SMALL).arrivals_s, [0, 60, 540, 600])[0]
    assert tooth[2] / tooth[0] == pytest.approx(5.75 / 1.25, rel=4 * tooth[0] ** -0.5)


def test_a_dense_trace_is_thinned_and_keeps_its_shape() -> None:
    """1000/s and then 3000/s thinned to 50/s: 25 and 75, with the dispersion of Poisson counts (+-0.25 at 600)."""
    load = of_trace(trace_of([1000] * 300 + [3000] * 300), SMALL)
    first, second = np.histogram(load.arrivals_s, [0, 300, 600])[0]
    assert first == pytest.approx(7500, abs=4 * 7500**0.5)
    assert second == pytest.approx(22_500, abs=4 * 22_500**0.5)
    assert "thinned to 2.5 %" in load.words
    flat = of_trace(trace_of([1000] * 600), SMALL)
    assert dispersion(flat) == pytest.approx(1.0, abs=0.25)


def test_a_sparse_trace_is_drawn_anew_and_not_multiplied() -> None:
    """Poisson counts of 2/s times 25 would be 25 times as dispersed in each second; redrawn they are nearly Poisson.

    Smoothing over 30 s leaves a variance of 2 / 30 * 25^2 = 42 around a mean of 50: 1 + 42 / 50 = 1.8, estimated from
    about 120 independent stretches of half a minute: +-20 % of it is 3 standard errors.
    """
    recorded = np.random.default_rng(5).poisson(2.0, 3600)
    load = of_trace(trace_of(recorded.tolist()), SMALL)
    assert load.arrivals_s.size == pytest.approx(180_000, abs=4 * 180_000**0.5)
    assert dispersion(load) == pytest.approx(1.8, rel=0.2)
    assert "smoothed over 30 s and drawn anew" in load.words


def test_wide_bins_are_filled_with_the_stated_dispersion_and_said() -> None:
    """CV 2.5 is 6.25 times Poisson; 3600 seconds give it to about 2.4 % a standard error: +-10 % is four."""
    scenario = Scenario(mean_rate=500.0, mean_workers=None)
    load = of_trace(trace_of([600] * 60, 60.0), scenario)
    assert dispersion(load) == pytest.approx(6.25, rel=0.1)
    assert "6.25 times Poisson" in load.words
    assert dispersion(of_trace(trace_of([600] * 60, 60.0), scenario, Stretch(client_cv=1.0))) == pytest.approx(
        1.0, rel=0.1
    )


def test_thinning_thins_the_dispersion_of_wide_bins_and_keeps_their_totals() -> None:
    """A tenth kept of 5000/s: inside a bin 1 + 0.1 * 5.25 times Poisson (+-10 %), bin totals binomial (below 1.5)."""
    scenario = Scenario(mean_rate=500.0, mean_workers=None)
    load = of_trace(trace_of([300_000] * 60, 60.0), scenario)
    assert dispersion(load) == pytest.approx(1.525, rel=0.1)
    assert dispersion(load, 60.0) < 1.5


def test_a_step_between_wide_bins_is_smoothed_when_filled() -> None:
    """Two levels in ten-minute bins: the rate climbs through the middle, it does not jump at the edge."""
    load = of_trace(trace_of([300_000, 900_000], 600.0), Scenario(mean_rate=200.0, mean_workers=None))
    before, after = np.histogram(load.arrivals_s, [540, 600, 660])[0]
    # Bin totals are kept, so that a part of the threefold jump stays.
    assert after / before < 2


def test_gaps_are_cut_out_of_the_chosen_stretch() -> None:
    """Seconds 4 and 5 are missing; of [2, 8) four remain, and the words say so."""
    trace = trace_of([1000] * 8, 1.0, [0, 1, 2, 3, 6, 7, 8, 9])
    load = of_trace(trace, SMALL, Stretch(2.0, 6.0))
    assert load.length_s == pytest.approx(4.0)
    assert "gaps of 2 s cut out" in load.words


def test_compression_makes_it_shorter_and_keeps_the_rate() -> None:
    """100 recorded seconds four times as fast: 25 s at the same mean rate."""
    load = of_trace(trace_of([1000] * 100), SMALL, Stretch(compression=4.0))
    assert load.length_s == pytest.approx(25.0)
    assert load.arrivals_s.size == pytest.approx(1250, abs=4 * 1250**0.5)


@pytest.mark.parametrize(
    ("stretch", "said"),
    [
        ({"start_s": 10.0}, "start=10: t.csv runs from 0 to 4 s"),
        ({"start_s": -1.0}, "start=-1: must be 0 or more"),
        ({"length_s": 0.0}, "length=0: must be above 0"),
        ({"compression": 0.0}, "compression=0: must be above 0"),
        ({"start_s": 2.0}, "no requests in this stretch"),
    ],
)
def test_a_stretch_that_cannot_be_is_named(stretch: dict[str, float], said: str) -> None:
    """The message names the value."""
    with pytest.raises(ValueError, match=said):
        of_trace(trace_of([5, 5, 0, 0]), SMALL, Stretch(**stretch))


def test_skew_is_zipf_and_the_seed_says_who_is_busy() -> None:
    """Exponent 1 over 4 partitions: 12/25, 6/25, 4/25, 3/25, in an order of the seed's."""
    assert sorted(shares(4, 1.0, 7), reverse=True) == pytest.approx([0.48, 0.24, 0.16, 0.12])
    assert shares(4, 0.0, 7) == pytest.approx([0.25] * 4)
    scenario = Scenario(partitions=4, skew=1.0, mean_rate=1000.0, mean_workers=None)
    load = of_pattern(PATTERNS["constant"], scenario, length_s=60.0)
    seen = np.bincount(load.partition_of, minlength=4) / load.partition_of.size
    # A share of 60,000 requests has a standard error of at most 0.2 %.
    assert seen == pytest.approx(shares(4, 1.0, scenario.seed), abs=0.01)


@given(
    counts=st.lists(st.integers(0, 300), min_size=1, max_size=40),
    width=st.sampled_from([0.5, 1.0, 90.0]),
    rate=st.floats(0.5, 30),
    start=st.floats(0, 60),
    compression=st.floats(0.5, 20),
)
# So few requests in a bin that the dispersion leaves no shape at all.
@example(counts=[19], width=90.0, rate=0.5, start=0.0, compression=14.0)
@settings(deadline=None, max_examples=60)
def test_whatever_is_cut_out_arrivals_are_sorted_and_inside(
    counts: list[int], width: float, rate: float, start: float, compression: float
) -> None:
    """Any stretch of any trace gives sorted times in [0, length), or says why not."""
    scenario = Scenario(partitions=3, mean_rate=rate, mean_workers=None)
    try:
        load = of_trace(trace_of(counts, width), scenario, Stretch(start, 30.0, compression))
    except ValueError:
        return
    assert (np.diff(load.arrivals_s) >= 0).all()
    assert ((load.arrivals_s >= 0) & (load.arrivals_s < load.length_s)).all()
    assert load.partition_of.size == load.arrivals_s.size


def test_the_same_seed_gives_the_same_load() -> None:
    """And another another."""
    first, again, other = (of_pattern(PATTERNS["bursts"], SMALL, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.arrivals_s, again.arrivals_s)
    assert np.array_equal(first.partition_of, again.partition_of)
    assert not np.array_equal(first.arrivals_s[:50], other.arrivals_s[:50])


def test_the_reference_scenario_needs_eight_workers_on_average() -> None:
    """Eight times 16 records in 95 ms."""
    assert Scenario().rate_per_s == pytest.approx(8 * 16 / 0.095)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"partitions": 0}, "partitions=0: must be 1"),
        ({"skew": -0.1}, r"skew=-0\.1: must be 0"),
        ({"objective_s": 0.0}, r"objective_s=0\.0: must be above 0"),
        ({"objective_share": 1.0}, r"objective_share=1\.0"),
        ({"rebalance": "rolling"}, "rebalance='rolling': must be cooperative or eager"),
        ({"mean_workers": None}, "give mean_workers or mean_rate"),
        ({"mean_rate": -1.0}, r"mean_rate=-1\.0"),
        ({"worker_types": ()}, "give at least one"),
        ({"worker_types": (REFERENCE_TYPE, REFERENCE_TYPE)}, "a name of its own"),
    ],
)
def test_a_scenario_that_cannot_be_is_named(given: dict[str, object], said: str) -> None:
    """Field, value, cure."""
    with pytest.raises(ValueError, match=said):
        Scenario(**given)  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.parametrize("spread", [-0.1, 1.0])
def test_a_boot_cannot_vary_by_all_of_itself(spread: float) -> None:
    """A spread of 1 would let a worker be ready at once."""
    with pytest.raises(ValueError, match="boot_spread"):
        SimulatedType("cpu", ServiceCurve(0.01, 0.01, 4), boot_spread=spread)
