"""What a workload is like: rates, peaks, burstiness, seasons, trend. Pure; gaps in the record are never silence.

Symbols: N(t) = arrivals in a window of t seconds.

- *Index of dispersion* IDC(t) = Var N(t) / E N(t): 1 for Poisson arrivals at every t. Seasons and trends count as
  variance, so over long windows it grows for any load that has a day and a night. D. R. Cox and P. A. W. Lewis, The
  Statistical Analysis of Series of Events (1966), section 4.5.
- *Local dispersion* (Allan factor) A(t) = E (N_next(t) - N(t))^2 / (2 E N(t)): the same for Poisson arrivals, but it
  only sees what changes from one window to the next. It is what a queue feels. D. W. Allan (1966).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Windows of which the burstiness is told, in seconds, where the record is fine and long enough.
SCALES_S = (1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0)
#: Fewest windows that say something about a variance: its relative error is about sqrt(2 / windows), here 0.4.
FEWEST_WINDOWS = 12
#: Seasons looked for: name and seconds.
SEASONS = (("hour", 3600.0), ("day", 86_400.0), ("week", 604_800.0))
#: Phases that a season is cut into: 5 minutes of an hour, hours of a day or a week.
PHASES = {"hour": 12, "day": 24, "week": 168}
#: Share of the variance that a season must explain in cycles that it was not learnt from, to be called one.
SEASON_STRENGTH = 0.1
#: Fewest stretches for a trend.
FEWEST_STRETCHES = 5
#: Draws of a bootstrap: the ends of a 95 % interval then move by about a tenth of its width.
DRAWS = 400
#: Most pairs of windows that are drawn from: beyond it the normal law is as good, and much quicker.
MOST_DRAWN = 2000


@dataclass(frozen=True, slots=True)
class Workload:
    """Arrivals counted in bins of one width."""

    #: Seconds a bin.
    width_s: float
    #: Arrivals a bin, (n,).
    counts: Floats
    #: Whether the bin was recorded, (n,); what was not is no silence.
    known: NDArray[np.bool_]
    #: Unix time of the first bin's start; `None` = not known, and hours are counted from the start of the record.
    starts_at_s: float | None = None

    def __post_init__(self) -> None:
        if not self.width_s > 0 or self.counts.shape != self.known.shape or not self.known.any():
            raise ValueError(
                f"width_s={self.width_s}, {int(self.known.sum())} known of {len(self.counts)} bins: need a width above "
                "0 and one known bin"
            )

    @property
    def seconds(self) -> float:
        """Recorded seconds, gaps left out."""
        return float(self.known.sum() * self.width_s)

    @property
    def mean_per_s(self) -> float:
        """Mean rate over what was recorded, a second."""
        return float(self.counts[self.known].sum() / self.seconds)

    def windows(self, seconds: float) -> Floats:
        """Arrivals in windows of `seconds` (rounded to whole bins) that follow each other; only wholly known ones."""
        size = max(1, round(seconds / self.width_s))
        count = len(self.counts) // size
        whole = self.known[: count * size].reshape(count, size).all(axis=1)
        sums: Floats = self.counts[: count * size].reshape(count, size).sum(axis=1)[whole]
        return sums

    def highest_per_s(self, seconds: float) -> float | None:
        """Highest mean rate over any wholly known window of `seconds`; `None` = there is no such window."""
        size = max(1, round(seconds / self.width_s))
        sums, known = _sliding(self.counts, size), _sliding(self.known.astype(np.float64), size)
        whole = known >= size - 0.5
        return float(sums[whole].max() / (size * self.width_s)) if whole.any() else None


@dataclass(frozen=True, slots=True)
class Dispersion:
    """Burstiness at one scale; 1 = Poisson."""

    scale_s: float
    windows: int
    #: Var / mean of the counts: seasons count in.
    index: float
    #: From window to window only.
    local: float
    #: 95 % interval of `local`, by bootstrap over the windows.
    local_low: float
    local_high: float


@dataclass(frozen=True, slots=True)
class Season:
    """A pattern that repeats."""

    name: str
    period_s: float
    cycles: int
    #: Share of the variance between phases that the other cycles explain of each cycle: 1 = repeats exactly, 0 = no
    #: better than the mean; below 0 = misleading.
    strength: float
    #: Mean rate by phase, a second.
    profile_per_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """Growth, by the median of the slopes between all pairs of stretches (H. Theil, 1950; P. K. Sen, 1968)."""

    #: Seconds a stretch: the longest season, so that seasons cancel.
    stretch_s: float
    stretches: int
    #: Growth from the beginning to the end of the record as a share of the mean rate; and its 95 % interval.
    growth: float
    low: float
    high: float

    @property
    def told(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Spike:
    """A window that stands out."""

    #: Seconds since the start of the record.
    at_s: float
    length_s: float
    rate_per_s: float
    #: Over the mean rate.
    times_mean: float


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of records."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    largest: float


@dataclass(frozen=True, slots=True)
class Skew:
    """How evenly the keys spread over the partitions."""

    partitions: int
    busiest: int
    #: Part of all records on it.
    busiest_share: float
    #: That over an even share.
    times_even: float
    #: Chance of a chi-squared statistic as large as this if all were even; near 0 = the keys are skewed.
    p_even: float


def dispersions(workload: Workload, *, seed: int = 0) -> tuple[Dispersion, ...]:
    """Burstiness at each of `SCALES_S` for which there are windows enough."""
    found = []
    for scale_s in SCALES_S:
        if scale_s < workload.width_s * (1 - 1e-9):
            continue
        sums = workload.windows(scale_s)
        pairs = _neighbours(workload, scale_s)
        mean = float(sums.mean()) if len(sums) else 0.0
        if len(sums) < FEWEST_WINDOWS or len(pairs) < FEWEST_WINDOWS or mean <= 0:
            continue
        squares = (pairs[:, 1] - pairs[:, 0]) ** 2 / 2
        low, high = _interval(squares, pairs.mean(axis=1), seed)
        found.append(
            Dispersion(
                scale_s=round(scale_s / workload.width_s) * workload.width_s,
                windows=len(sums),
                index=float(sums.var(ddof=1) / mean),
                local=float(squares.mean() / pairs.mean()),
                local_low=low,
                local_high=high,
            )
        )
    return tuple(found)


def seasons(workload: Workload) -> tuple[Season, ...]:
    """Hour, day and week, as far as the record holds two cycles of them; each cycle foretold by the others."""
    found = []
    for name, period_s in SEASONS:
        phases = PHASES[name]
        if period_s / phases < workload.width_s or len(workload.counts) * workload.width_s < 2 * period_s:
            continue
        rates = _cycles(workload, period_s, phases)
        complete = rates[~np.isnan(rates).any(axis=1)]
        if len(complete) < 2:  # noqa: PLR2004 - one cycle repeats nothing
            continue
        total = complete.sum(axis=0)
        others = (total - complete) / (len(complete) - 1)
        wrong = float(((complete - others) ** 2).sum())
        flat = float(((complete - others.mean(axis=1, keepdims=True)) ** 2).sum())
        strength = 1 - wrong / flat if flat > 0 else 0.0
        found.append(Season(name, period_s, len(complete), strength, tuple(complete.mean(axis=0).tolist())))
    return tuple(found)


def trend(workload: Workload, found: Sequence[Season]) -> Trend | None:
    """Growth over the record; `None` = it is too short to tell."""
    strong = [season.period_s for season in found if season.strength >= SEASON_STRENGTH]
    length_s = len(workload.counts) * workload.width_s
    stretch_s = max((period for period in strong if length_s >= FEWEST_STRETCHES * period), default=length_s / 10)
    size = max(1, round(stretch_s / workload.width_s))
    count = len(workload.counts) // size
    if count < FEWEST_STRETCHES:
        return None
    known = workload.known[: count * size].reshape(count, size)
    sums = (workload.counts[: count * size].reshape(count, size) * known).sum(axis=1)
    # A stretch of which less than half was recorded says little.
    usable = known.mean(axis=1) >= 0.5  # noqa: PLR2004
    mean = workload.mean_per_s
    if usable.sum() < FEWEST_STRETCHES or mean <= 0:
        return None
    rates = sums[usable] / (known.sum(axis=1)[usable] * workload.width_s)
    slope, _, low, high = stats.theilslopes(rates, np.flatnonzero(usable) / count, 0.95)
    return Trend(size * workload.width_s, int(usable.sum()), float(slope / mean), float(low / mean), float(high / mean))


def spikes(workload: Workload, *, seconds: float = 60.0, most: int = 5) -> tuple[Spike, ...]:
    """The busiest windows, at least an hour (or a tenth of the record) from each other, the busiest first."""
    size = max(1, round(seconds / workload.width_s))
    sums, known = _sliding(workload.counts, size), _sliding(workload.known.astype(np.float64), size)
    rates = np.where(known >= size - 0.5, sums / (size * workload.width_s), -1.0)
    apart = max(1, round(min(3600.0, len(workload.counts) * workload.width_s / 10) / workload.width_s))
    found: list[Spike] = []
    mean = workload.mean_per_s
    while len(found) < most and len(rates) and rates.max() > 0:
        place = int(rates.argmax())
        rate = float(rates[place])
        found.append(Spike(place * workload.width_s, size * workload.width_s, rate, rate / mean))
        rates[max(0, place - apart) : place + apart] = -1.0
    return tuple(found)


def gaps(workload: Workload) -> tuple[tuple[float, float], ...]:
    """Stretches that were not recorded: start and length in seconds since the start of the record."""
    edges = np.flatnonzero(np.diff(np.concatenate(([1], workload.known.astype(np.int8), [1]))))
    return tuple(
        (float(start * workload.width_s), float((end - start) * workload.width_s))
        for start, end in zip(edges[::2], edges[1::2], strict=True)
    )


def silences(workload: Workload, missed: float, *, most: int = 3) -> tuple[tuple[float, float], ...]:
    """The longest stretches without an arrival in which the mean rate would have brought `missed` or more.

    Returns:
        start and length in seconds since the start of the record, the longest first.
    """
    quiet = workload.known & (workload.counts == 0)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], quiet.astype(np.int8), [0]))))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    longest = np.argsort(-lengths, kind="stable")[:most]
    return tuple(
        (float(starts[run] * workload.width_s), float(lengths[run] * workload.width_s))
        for run in longest
        if lengths[run] * workload.width_s * workload.mean_per_s >= missed
    )


def sizes(lengths: NDArray[np.int64] | Floats) -> Sizes | None:
    """Quantiles of record sizes in bytes; `None` = there are no records."""
    if not len(lengths):
        return None
    p50, p90, p99 = np.percentile(lengths, [50, 90, 99])
    return Sizes(len(lengths), float(lengths.mean()), float(p50), float(p90), float(p99), float(lengths.max()))


def skew(by_partition: Mapping[int, int]) -> Skew | None:
    """Evenness of the partitions; `None` = fewer than two, or no records."""
    total = sum(by_partition.values())
    if len(by_partition) < 2 or total <= 0:  # noqa: PLR2004 - one partition is even
        return None
    busiest = max(by_partition, key=lambda partition: by_partition[partition])
    share = by_partition[busiest] / total
    _, p_even = stats.chisquare(list(by_partition.values()))
    return Skew(len(by_partition), busiest, share, share * len(by_partition), float(p_even))


def _sliding(values: Floats, size: int) -> Floats:
    sums = np.concatenate(([0.0], np.cumsum(values)))
    out: Floats = sums[size:] - sums[:-size]
    return out


def _interval(squares: Floats, means: Floats, seed: int) -> tuple[float, float]:
    """95 % interval of mean(squares) / mean(means): pairs are disjoint, so draws of them are nearly independent."""
    if len(squares) > MOST_DRAWN:
        # So many that the normal law holds for the ratio (delta method).
        ratio = squares.mean() / means.mean()
        error = 1.96 * float((squares - ratio * means).std()) / np.sqrt(len(squares)) / means.mean()
        return float(ratio - error), float(ratio + error)
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(squares), (DRAWS, len(squares)))
    drawn = squares[picks].mean(axis=1) / np.maximum(means[picks].mean(axis=1), 1e-12)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _neighbours(workload: Workload, seconds: float) -> Floats:
    """Counts of windows and of the next ones, (n, 2), of windows that are wholly known, no window in two pairs."""
    size = max(1, round(seconds / workload.width_s))
    count = len(workload.counts) // (2 * size)
    known = workload.known[: count * 2 * size].reshape(count, 2 * size).all(axis=1)
    pairs: Floats = workload.counts[: count * 2 * size].reshape(count, 2, size).sum(axis=2)[known]
    return pairs


def _cycles(workload: Workload, period_s: float, phases: int) -> Floats:
    """Mean rates, (cycles, phases); NaN where nothing was recorded. Cycles begin with the clock's, if it is known."""
    offset_s = 0.0 if workload.starts_at_s is None else workload.starts_at_s % period_s
    at_s = (np.arange(len(workload.counts)) + 0.5) * workload.width_s + offset_s
    place = np.floor(at_s / (period_s / phases)).astype(np.int64)
    cells = (int(place[-1]) // phases + 1) * phases
    sums = np.bincount(place, np.where(workload.known, workload.counts, 0.0), cells)
    seen = np.bincount(place, workload.known * workload.width_s, cells)
    # A phase of which less than half was recorded is not known.
    rates = np.where(seen >= period_s / phases / 2, sums / np.maximum(seen, 1e-12), np.nan)
    return rates.reshape(-1, phases)
