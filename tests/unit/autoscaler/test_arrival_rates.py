"""Rates from offsets: what must not change them, and what must not be taken for silence."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.model import ArrivalSample
from autoscaler.rates import ArrivalTracker
from autoscaler.settings import PolicySettings

T0 = 1_700_000_000.0
SETTINGS = PolicySettings()


def sample(at_s: float, ends: dict[int, int]) -> ArrivalSample:
    """A sample of pipeline `p` at `at_s` seconds after the epoch of these tests."""
    return ArrivalSample("p", T0 + at_s, ends, dict.fromkeys(ends, 0))


def steady(seconds: int, per_s: int, partitions: int = 4, start: int = 1000) -> list[ArrivalSample]:
    """One sample a second, each partition growing by `per_s`."""
    return [sample(t, dict.fromkeys(range(partitions), start + per_s * t)) for t in range(seconds + 1)]


def tracked(samples: list[ArrivalSample]) -> ArrivalTracker:
    """A tracker that has seen the samples in this order."""
    tracker = ArrivalTracker(SETTINGS)
    for one in samples:
        tracker.add(one)
    return tracker


def test_steady_arrivals_give_the_same_rate_in_each_window() -> None:
    """5 records a second on each of 4 partitions are 20/s over 1, 10 and 60 s, even, without trend or spread."""
    rates = tracked(steady(60, 5)).rates(T0 + 60)
    assert rates is not None
    assert (rates.last_1s, rates.last_10s, rates.last_60s) == (20, 20, 20)
    assert rates.by_partition == dict.fromkeys(range(4), 5)
    assert rates.trend_per_s2 == 0
    assert rates.burstiness == 0
    assert rates.busiest_share == pytest.approx(0.25)


def test_a_window_that_is_not_covered_is_not_known() -> None:
    """After 12 s of samples the 10-s rate is known and the 60-s rate is not."""
    rates = tracked(steady(12, 5)).rates(T0 + 12)
    assert rates is not None
    assert rates.last_10s == 20
    assert rates.last_60s is None


def test_one_sample_or_an_old_one_says_nothing() -> None:
    """A rate needs two samples, the newest of them of the present."""
    assert tracked(steady(0, 5)).rates(T0) is None
    assert tracked(steady(10, 5)).rates(T0 + 10 + SETTINGS.sample_fresh_s + 1) is None


def test_no_arrivals_are_zero_and_not_unknown() -> None:
    """An idle topic has the rate 0, no busiest share and no dispersion."""
    rates = tracked(steady(60, 0)).rates(T0 + 60)
    assert rates is not None
    assert rates.last_10s == 0
    assert rates.busiest_share is None
    assert rates.burstiness is None


@given(
    steps=st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=12, max_size=40),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)  # the machine may be busy
def test_duplicates_and_disorder_change_nothing(steps: list[list[int]], seed: int) -> None:
    """Any tape delivered twice over and shuffled gives the rates of the tape in order."""
    rng = random.Random(seed)
    ends, samples = [0, 0, 0], []
    for t, grown in enumerate(steps):
        ends = [end + more for end, more in zip(ends, grown, strict=True)]
        samples.append(sample(t, dict(enumerate(ends))))
    shuffled = samples + rng.choices(samples, k=len(samples))
    rng.shuffle(shuffled)
    at_s = T0 + len(steps) - 1
    assert tracked(shuffled).rates(at_s) == tracked(samples).rates(at_s)
    assert tracked(shuffled).history(at_s) == tracked(samples).history(at_s)


def test_a_gap_is_not_known_and_does_not_dilute_the_rate() -> None:
    """20 s without samples leave unknown seconds in the history and only known ones in the rate."""
    samples = [one for one in steady(60, 5) if not 30 < one.at_s - T0 < 50]
    tracker = tracked(samples)
    rates, history = tracker.rates(T0 + 60), tracker.history(T0 + 60)
    assert rates is not None
    assert history is not None
    assert rates.last_10s == 20
    assert rates.last_60s is None
    assert (~history.known).sum() == 20
    assert set(history.counts[history.known]) == {20.0}


def test_a_missed_tick_is_bridged() -> None:
    """Samples 2 s apart are near enough for both seconds to be known."""
    samples = [one for one in steady(60, 5) if one.at_s - T0 != 33]
    history = tracked(samples).history(T0 + 60)
    assert history is not None
    assert history.counts.tolist() == [20.0] * 60
    assert history.known.all()


def test_a_partition_that_appears_counts_from_its_first_sight() -> None:
    """A new partition with 500 records behind it is no burst of 500."""
    old = steady(30, 5)
    grown = [sample(t, {**dict.fromkeys(range(4), 1000 + 5 * t), 4: 500 + 5 * (t - 31)}) for t in range(31, 61)]
    tracker = tracked(old + grown)
    rates, history = tracker.rates(T0 + 60), tracker.history(T0 + 60)
    assert rates is not None
    assert history is not None
    assert rates.last_10s == 25
    assert history.counts.max() == 25


def test_a_partition_without_a_leader_is_not_silent() -> None:
    """A partition that is missing from the newest samples is taken to go on as before, and so is the sum."""
    cut = [sample(t, dict.fromkeys(range(4 if t <= 50 else 3), 1000 + 5 * t)) for t in range(61)]
    rates = tracked(cut).rates(T0 + 60)
    assert rates is not None
    assert rates.last_1s == pytest.approx(20)
    assert rates.by_partition[3] == pytest.approx(5)


def test_a_clock_set_back_is_followed() -> None:
    """After the sampler's clock went back by 30 s the rate of the new present is known within seconds."""
    before = steady(60, 5)
    after = [sample(30 + t, dict.fromkeys(range(4), 1000 + 5 * (60 + t))) for t in range(1, 13)]
    rates = tracked(before + after).rates(T0 + 42)
    assert rates is not None
    assert rates.at_s == T0 + 42
    assert rates.last_10s == 20
    assert rates.last_60s is None


def test_an_idle_clock_set_back_is_followed_when_the_tape_proves_the_order() -> None:
    """Without arrivals only the order of the tape tells a clock set back from a late record."""
    tracker = tracked(steady(60, 0))
    tracker.add(sample(20, dict.fromkeys(range(4), 1000)), in_order=True)
    tracker.add(sample(21, dict.fromkeys(range(4), 1000)), in_order=True)
    assert tracker.newest_at_s == T0 + 21


def test_a_clock_set_forward_is_a_gap() -> None:
    """A jump of the clock by an hour leaves no hour of silence behind."""
    after = [sample(3660 + t, dict.fromkeys(range(4), 1000 + 5 * (60 + t))) for t in range(1, 13)]
    rates = tracked(steady(60, 5) + after).rates(T0 + 3672)
    assert rates is not None
    assert rates.last_10s == 20
    assert rates.last_60s is None


def test_a_stale_broker_does_not_turn_the_counts_back() -> None:
    """One newer sample with lower end offsets is left out."""
    samples = steady(60, 5)
    samples.insert(51, sample(50.5, dict.fromkeys(range(4), 1100)))
    history = tracked(samples).history(T0 + 60)
    assert history is not None
    assert set(history.counts) == {20.0}
    assert history.known.all()


def test_one_stale_partition_does_not_turn_its_count_back() -> None:
    """A partition whose leader lags in one sample, while the others go on, neither shrinks nor jumps in the sum."""
    samples = steady(60, 5)
    samples[50] = sample(50, {**dict.fromkeys(range(3), 1250), 3: 1100})
    history = tracked(samples).history(T0 + 60)
    assert history is not None
    assert history.counts[history.known].min() >= 15
    assert history.counts.sum() == 1200


def test_a_topic_made_anew_is_counted_from_there() -> None:
    """When end offsets stay low the topic is another one, and its arrivals count."""
    anew = [sample(t, dict.fromkeys(range(4), 7 * (t - 60))) for t in range(61, 91)]
    rates = tracked(steady(60, 5) + anew).rates(T0 + 90)
    assert rates is not None
    assert rates.last_10s == 28


def test_a_topic_made_anew_with_fewer_partitions_is_counted_from_there() -> None:
    """The partitions of the old topic are forgotten, whatever their numbers."""
    anew = [sample(t, dict.fromkeys((0, 2, 3), 7 * (t - 60))) for t in range(61, 91)]
    tracker = tracked(steady(60, 5) + anew)
    rates, history = tracker.rates(T0 + 90), tracker.history(T0 + 90)
    assert rates is not None
    assert history is not None
    assert rates.last_10s == 21
    assert rates.by_partition == dict.fromkeys((0, 2, 3), 7)
    assert set(history.by_partition) == {0, 2, 3}
    assert set(history.counts[history.known]) == {21.0}


def test_a_partition_that_is_away_for_longer_than_the_history_adds_nothing() -> None:
    """No sample that is kept tells of it; the others count on."""
    gone_s = int(SETTINGS.history_s + SETTINGS.sample_gap_s) + 10
    cut = [sample(t, dict.fromkeys(range(3), 1000 + 5 * t)) for t in range(61, 61 + gone_s)]
    rates = tracked(steady(60, 5) + cut).rates(T0 + 60 + gone_s)
    assert rates is not None
    assert rates.last_10s == 15
    assert rates.by_partition == {0: 5, 1: 5, 2: 5, 3: 0}


def test_memory_is_bounded() -> None:
    """A long tape keeps no more than the history."""
    tracker = tracked(steady(3000, 1, partitions=1))
    assert len(tracker._times) <= SETTINGS.history_s + SETTINGS.sample_gap_s + 2


def test_poisson_arrivals_have_dispersion_one() -> None:
    """The index of dispersion of 60 Poisson counts is 1 within four standard deviations (sqrt(2/59) each)."""
    ends = np.cumsum(np.random.default_rng(5).poisson(50, size=61))
    rates = tracked([sample(t, {0: int(end)}) for t, end in enumerate(ends)]).rates(T0 + 60)
    assert rates is not None
    assert rates.burstiness is not None
    assert abs(rates.burstiness - 1) < 4 * np.sqrt(2 / 59)


def test_a_ramp_has_its_slope_as_trend() -> None:
    """Arrivals that grow by 2/s each second have a trend of 2/s^2."""
    rates = tracked([sample(t, {0: t * t}) for t in range(61)]).rates(T0 + 60)
    assert rates is not None
    assert rates.trend_per_s2 == pytest.approx(2)


def test_a_busy_partition_shows_in_the_busiest_share() -> None:
    """Half of the arrivals on one of four partitions is a busiest share of one half."""
    rates = tracked([sample(t, {0: 3 * t, 1: t, 2: t, 3: t}) for t in range(61)]).rates(T0 + 60)
    assert rates is not None
    assert rates.busiest_share == pytest.approx(0.5)
