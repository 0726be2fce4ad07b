"""All figures of a workload in one value, as JSON has it and as people read it."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from autoscaler.planning import workload as figures

if TYPE_CHECKING:
    from penstock.analyse.source import History

#: Windows whose highest rate is told, in seconds.
PEAKS_S = (1.0, 10.0, 60.0, 600.0, 3600.0)
#: Records that a stretch without any ought to have had, for it to be named: chance leaves out 30 once in 10^13.
MISSED = 30.0
#: Chance below which partitions count as uneven.
UNEVEN = 0.001


@dataclass(frozen=True, slots=True)
class Analysis:
    """What `penstock analyse` found."""

    name: str
    bin_s: float
    starts_at: str | None
    #: From the first to the last bin, and what of it was recorded.
    span_s: float
    recorded_s: float
    requests: int
    mean_per_s: float
    #: Highest mean rate by window in seconds.
    peak_per_s: dict[str, float]
    peak_over_mean: dict[str, float]
    dispersion: tuple[figures.Dispersion, ...]
    seasons: tuple[figures.Season, ...]
    trend: figures.Trend | None
    spikes: tuple[figures.Spike, ...]
    gaps: tuple[tuple[float, float], ...]
    #: Longest stretches without a request that were not chance: start and length in seconds.
    silences: tuple[tuple[float, float], ...]
    sizes: figures.Sizes | None
    skew: figures.Skew | None
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For programs; what is not known is null."""
        told = asdict(self)
        if told["trend"] is not None and self.trend is not None:
            told["trend"]["told"] = self.trend.told
        return told


def analyse(history: History) -> Analysis:
    """Compute all of it."""
    load = history.workload
    span_s = len(load.counts) * load.width_s
    peaks = {
        f"{seconds:g}": rate
        for seconds in PEAKS_S
        if load.width_s <= seconds <= span_s / 2 and (rate := load.highest_per_s(seconds)) is not None
    }
    if not peaks:
        peaks = {f"{load.width_s:g}": float(load.counts[load.known].max() / load.width_s)}
    found = figures.seasons(load)
    return Analysis(
        name=history.name,
        bin_s=load.width_s,
        starts_at=None if load.starts_at_s is None else dt.datetime.fromtimestamp(load.starts_at_s, dt.UTC).isoformat(),
        span_s=span_s,
        recorded_s=load.seconds,
        requests=round(load.counts[load.known].sum()),
        mean_per_s=load.mean_per_s,
        peak_per_s=peaks,
        peak_over_mean={window: rate / load.mean_per_s for window, rate in peaks.items()},
        dispersion=figures.dispersions(load),
        seasons=found,
        trend=figures.trend(load, found),
        spikes=figures.spikes(load),
        gaps=figures.gaps(load),
        silences=figures.silences(load, MISSED),
        sizes=None if history.sizes is None else figures.sizes(history.sizes),
        skew=None if history.by_partition is None else figures.skew(history.by_partition),
        notes=history.notes,
    )


def lines(found: Analysis) -> list[tuple[str, str]]:
    """What a person wants to know, most important first: what, and the figure in words."""
    window = next(iter(found.peak_per_s))
    told = [
        ("requests", f"{found.requests:,} in {span(found.recorded_s)}, mean {rate(found.mean_per_s)}/s"),
        (
            "peaks",
            "; ".join(f"{rate(value)}/s over {span(float(key))}" for key, value in found.peak_per_s.items())
            + f" ({found.peak_over_mean[window]:.1f} times the mean over {span(float(window))})",
        ),
    ]
    if found.dispersion:
        told.append(
            (
                "burstiness",
                "; ".join(
                    f"{entry.local:.1f} [{entry.local_low:.1f}, {entry.local_high:.1f}] at {span(entry.scale_s)}"
                    for entry in found.dispersion
                )
                + " (local index of dispersion, 1 = Poisson)",
            )
        )
    for season in found.seasons:
        high, low = max(season.profile_per_s), min(season.profile_per_s)
        verdict = "repeats" if season.strength >= figures.SEASON_STRENGTH else "does not repeat"
        words = (
            f"{verdict}; each of {season.cycles} is foretold to {season.strength:.0%} by the others; "
            f"{rate(low)} to {rate(high)}/s"
        )
        told.append((f"season: {season.name}", words))
    if found.trend is not None:
        told.append(("trend", trend_words(found.trend)))
    told += [
        (
            "spike",
            f"{rate(spike.rate_per_s)}/s, {spike.times_mean:.1f} times the mean, at {moment(found, spike.at_s)}",
        )
        for spike in found.spikes[:3]
    ]
    if found.gaps:
        lost = sum(length for _, length in found.gaps)
        told.append(("gaps", f"{len(found.gaps)} in the record, {span(lost)} in all: left out, not taken for silence"))
    told += [
        ("silence", f"{span(length)} without a request at {moment(found, at)}: an outage, or nobody there?")
        for at, length in found.silences
    ]
    if found.sizes is not None:
        size = found.sizes
        told.append(
            (
                "record bytes",
                f"mean {size.mean:,.0f}, median {size.p50:,.0f}, p99 {size.p99:,.0f}, most {size.largest:,.0f}",
            )
        )
    if found.skew is not None:
        skew = found.skew
        verdict = "uneven keys" if skew.p_even < UNEVEN else "no more than chance"
        words = (
            f"busiest of {skew.partitions} has {skew.busiest_share:.2%}, {skew.times_even:.2f} times an even share "
            f"({verdict}, p = {skew.p_even:.2g})"
        )
        told.append(("partitions", words))
    return told + [("note", note) for note in found.notes]


def trend_words(found: figures.Trend) -> str:
    """The trend as a sentence."""
    interval = f"{found.growth:+.0%} [{found.low:+.0%}, {found.high:+.0%}] of the mean from beginning to end"
    return interval if found.told else f"none told: {interval}"


def rate(per_s: float) -> str:
    """A rate as short as it is exact enough."""
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.3g}"  # noqa: PLR2004 - three digits


def span(seconds: float) -> str:
    """A length of time for people."""
    for unit, length in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length or (seconds >= length and seconds % length == 0):
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def moment(found: Analysis, at_s: float) -> str:
    """A time in the record, by the clock where it is known."""
    if found.starts_at is None:
        return f"{span(at_s)} from the start"
    at = dt.datetime.fromisoformat(found.starts_at) + dt.timedelta(seconds=at_s)
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
