"""Loads as arrival times: patterns and stretches of recorded traces, at a wanted mean rate, spread over partitions.

A trace that is denser than wanted is thinned: each request is kept with the same chance. One that is sparser is not
multiplied, which would multiply its index of dispersion: its counts are smoothed over a stated width and drawn anew
from a Poisson law. Inside wide bins (a minute or more) a plain Poisson law is too smooth for the sum of clients whose
own requests cluster, so its rate is modulated by gamma numbers, drawn for each second, to the dispersion that renewal
clients of the stated coefficient of variation have (Cox and Isham 1980, section 4.2: variance over mean of the counts
goes to CV^2); thinning by p leaves 1 + p (CV^2 - 1) of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.simulation import filling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from autoscaler.simulation.patterns import Pattern
    from autoscaler.simulation.scenario import Scenario
    from autoscaler.simulation.trace import Trace

    Numbers = NDArray[np.float64]
    Counts = NDArray[np.int64]

#: Bins at least so wide, in recorded seconds, hide how the arrivals lie inside them.
WIDE_S = 60.0
#: Width over which counts are smoothed before they are drawn anew, in simulated seconds. A hundred times as many users
#: share what lasts, such as the hour and the news; the second in which one of them asked is his own and averages out.
#: Half a minute is the limit taken between the two. Narrower, the chance of the few recorded requests becomes load:
#: at 10 s a chat trace of 5 requests a second gets swings of 17 % from one 10 s to the next.
SMOOTH_S = 30.0
#: Coefficient of variation of a client's inter-arrival times behind wide bins: the middle of what production services
#: show (1.0 to 3.6).
CLIENT_CV = 2.5


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """The arrivals of a run."""

    name: str
    #: Seconds from the start, ascending, shape (n,).
    arrivals_s: Numbers
    #: Partition of each, shape (n,).
    partition_of: NDArray[np.int32]
    #: Seconds simulated.
    length_s: float
    #: How it came about, in one sentence.
    words: str
    #: The same in figures.
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which part of a trace, and how it is made a load."""

    #: Recorded seconds since the start of the trace.
    start_s: float = 0.0
    #: Recorded seconds, gaps included (they are cut out); `None` = to the end.
    length_s: float | None = None
    #: Recorded seconds in one simulated second.
    compression: float = 1.0
    #: Width of the smoothing where counts are drawn anew, in simulated seconds; never less than a bin.
    smooth_s: float = SMOOTH_S
    #: Coefficient of variation of a client's inter-arrival times, for wide bins; 1 = plain Poisson.
    client_cv: float = CLIENT_CV

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < float("inf"):
            raise ValueError(f"start={self.start_s:g}: must be 0 or more recorded seconds")
        if self.length_s is not None and not self.length_s > 0:
            raise ValueError(f"length={self.length_s:g}: must be above 0 recorded seconds")
        if not 0 < self.compression < float("inf"):
            raise ValueError(f"compression={self.compression:g}: must be above 0, e.g. 8 for 8 times as fast")
        if not self.smooth_s > 0:
            raise ValueError(f"smooth={self.smooth_s:g}: must be above 0 simulated seconds")
        if not self.client_cv >= 1:
            raise ValueError(f"client_cv={self.client_cv:g}: must be at least 1, which is a plain Poisson law")


def of_pattern(pattern: Pattern, scenario: Scenario, *, length_s: float | None = None, seed: int | None = None) -> Load:
    """Poisson arrivals of a made-up load with the scenario's mean rate.

    Args:
        pattern: Its shape.
        scenario: Rate, partitions, skew, seed.
        length_s: Seconds; the pattern's own where left out.
        seed: Instead of the scenario's.

    Raises:
        ValueError: the length is not above 0.
    """
    length_s = pattern.length_s if length_s is None else length_s
    if not 0 < length_s < float("inf"):
        raise ValueError(f"length={length_s:g}: must be above 0 seconds")
    seed = scenario.seed if seed is None else seed
    rng = np.random.default_rng([seed, 1])
    edges = filling.slots(length_s)
    shape = pattern.shape((edges[:-1] + edges[1:]) / 2, length_s, seed)
    expected = shape * np.diff(edges)
    expected *= scenario.rate_per_s * length_s / expected.sum()
    times = filling.placed(rng.poisson(expected), edges[:-1], edges[1:], rng)
    return Load(
        name=pattern.name,
        arrivals_s=times,
        partition_of=partitions_of(times.size, scenario, seed),
        length_s=length_s,
        words=f"pattern {pattern.name} ({pattern.words}), Poisson, mean {scenario.rate_per_s:.4g}/s (seed {seed})",
        facts={"pattern": pattern.name, "length_s": length_s, "mean_per_s": scenario.rate_per_s, "seed": seed},
    )


def of_trace(
    trace: Trace,
    scenario: Scenario,
    stretch: Stretch | None = None,
    *,
    seed: int | None = None,
    name: str | None = None,
) -> Load:
    """A stretch of a recorded trace with the scenario's mean rate.

    Args:
        trace: What was recorded.
        scenario: Rate, partitions, skew, seed.
        stretch: Which part, compressed how much; all of it as it was where left out.
        seed: Instead of the scenario's.
        name: Of the load; the trace's where left out.

    Raises:
        ValueError: the stretch lies outside the trace or holds no requests; the message names the value.
    """
    stretch = stretch or Stretch()
    seed = scenario.seed if seed is None else seed
    rng = np.random.default_rng([seed, 1])
    low, high, share, bins, recorded_s = _cut(trace, stretch)
    counts = trace.counts[bins]
    # From here on in simulated seconds.
    low, high = low / stretch.compression, high / stretch.compression
    length_s = float(high[-1])
    total = float((counts * share).sum())
    if total <= 0:
        raise ValueError(f"start={stretch.start_s:g}: {trace.name} has no requests in this stretch; choose another")
    wide = float(np.median(trace.widths_s[bins])) >= WIDE_S
    scale = scenario.rate_per_s * length_s / total
    dispersion = stretch.client_cv**2 if wide else 1.0
    edges = np.concatenate((low[:1], high))
    slots = filling.slots(length_s)
    per_slot = np.diff(np.interp(slots, edges, np.concatenate(([0.0], np.cumsum(counts * share)))))
    bin_s = float(np.median(high - low))
    width_s = bin_s if scale <= 1 else max(stretch.smooth_s, bin_s)
    rates = filling.smoothed(per_slot / np.diff(slots), width_s)
    if scale <= 1:
        kept = rng.binomial(counts, np.clip(share * scale, 0.0, 1.0))
        dispersion = 1 + scale * (dispersion - 1)
        times = (
            filling.inside_wide(kept, edges, slot_edges=slots, rates=rates, dispersion=dispersion, rng=rng)
            if wide
            else filling.placed(kept, low, high, rng)
        )
        how = f"thinned to {100 * scale:.4g} % of its requests"
    else:
        expected = rates * np.diff(slots)
        expected *= scenario.rate_per_s * length_s / expected.sum()
        expected *= filling.gamma(expected, dispersion, rng)
        times = filling.placed(rng.poisson(expected), slots[:-1], slots[1:], rng)
        how = f"scaled up {scale:.4g} times: counts smoothed over {width_s:g} s and drawn anew (Poisson)"
    if wide:
        how += f", inside wide bins modulated to a variance of counts {dispersion:.3g} times Poisson"
    gaps_s = recorded_s - length_s * stretch.compression
    if gaps_s > 1e-6:  # noqa: PLR2004 - rounding
        how += f", recording gaps of {gaps_s:g} s cut out"
    faster = f", {stretch.compression:g} times as fast" if stretch.compression != 1 else ""
    return Load(
        name=name or trace.name,
        arrivals_s=times,
        partition_of=partitions_of(times.size, scenario, seed),
        length_s=length_s,
        words=(
            f"trace {trace.name}, {recorded_s:g} recorded seconds from {stretch.start_s:g} s on{faster}, {how}, "
            f"mean {scenario.rate_per_s:.4g}/s (seed {seed})"
        ),
        facts={
            "trace": trace.name,
            "start_s": stretch.start_s,
            "recorded_s": recorded_s,
            "compression": stretch.compression,
            "gaps_s": gaps_s,
            "length_s": length_s,
            "mean_per_s": scenario.rate_per_s,
            "scale": scale,
            "smooth_s": None if scale <= 1 else width_s,
            "fill_dispersion": dispersion,
            "seed": seed,
        },
    )


def shares(partitions: int, skew: float, seed: int) -> Numbers:
    """Share of the arrivals by partition, shape (partitions,), sum 1: Zipf, which partition is busy by the seed."""
    weights = np.arange(1, partitions + 1, dtype=np.float64) ** -skew
    if skew > 0:
        np.random.default_rng([seed, 2]).shuffle(weights)
    return np.asarray(weights / weights.sum())


def partitions_of(count: int, scenario: Scenario, seed: int) -> NDArray[np.int32]:
    """Partitions of so many requests with many keys: each at random by the shares, shape (count,)."""
    rng = np.random.default_rng([seed, 3])
    if scenario.skew == 0:
        return rng.integers(0, scenario.partitions, count, dtype=np.int32)
    bounds = np.cumsum(shares(scenario.partitions, scenario.skew, seed))
    found = np.searchsorted(bounds, rng.random(count), side="right")
    return np.minimum(found, scenario.partitions - 1).astype(np.int32)


def _cut(trace: Trace, stretch: Stretch) -> tuple[Numbers, Numbers, Numbers, Counts, float]:
    """The bins of a stretch: their ends in seconds joined over gaps, the share of each, which, the recorded seconds."""
    if stretch.start_s >= trace.end_s:
        raise ValueError(f"start={stretch.start_s:g}: {trace.name} runs from 0 to {trace.end_s:g} s")
    stop_s = trace.end_s if stretch.length_s is None else min(trace.end_s, stretch.start_s + stretch.length_s)
    ends = trace.starts_s + trace.widths_s
    low, high = np.maximum(trace.starts_s, stretch.start_s), np.minimum(ends, stop_s)
    bins = np.flatnonzero(high > low)
    if not bins.size:
        raise ValueError(f"start={stretch.start_s:g}: {trace.name} has only a recording gap there; choose another")
    lasting = (high - low)[bins]
    joined = np.concatenate(([0.0], np.cumsum(lasting)))
    # A trace need not begin at 0; what lies before its first bin is no gap.
    recorded_s = stop_s - max(stretch.start_s, float(trace.starts_s[0]))
    return joined[:-1], joined[1:], lasting / trace.widths_s[bins], bins, recorded_s
