"""Rolling arrival rates from offsets, never from events: a rebalance replays events, an end offset is the same twice.

Samples say where the log of each partition ended at a time. Between two samples the log is taken to grow evenly, so the
arrivals of any window are a difference of two points on one curve. Duplicates and reorderings leave that curve as it
is. A stretch without samples is *not known*; it is not silence.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.model import ArrivalHistory, ArrivalSample, Rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from autoscaler.settings import PolicySettings

    Floats = NDArray[np.float64]

#: A sample older than the newest by more than this many seconds, and yet with more arrivals, comes from a clock that
#: was set back. Less than that is two samplers whose clocks differ.
_CLOCK_STEP_S = 2.0
#: So many samples in a row with lower end offsets than before are a topic that was made anew, not a stale broker.
_REBORN_AFTER = 5
#: Fewest one-second counts that a trend or a dispersion is computed from.
_LEAST_COUNTS = 10
#: Seconds of arrivals by partition kept for the shares.
_SHARE_WINDOW_S = 120.0
#: Rounding of times: Unix seconds as floats are exact to about 2e-7.
_TIME_EPS_S = 1e-5


class ArrivalTracker:
    """Folds arrival samples of one pipeline into rates; bounded memory; reads no clock."""

    def __init__(self, settings: PolicySettings) -> None:
        self._settings = settings
        self._partitions: dict[int, int] = {}
        self._times: list[float] = []
        self._rows: list[Floats] = []
        #: Whether the stretch from the sample before is known to be continuous.
        self._joined: list[bool] = []
        self._lower_in_a_row = 0
        self._curve: _Curve | None = None

    @property
    def newest_at_s(self) -> float | None:
        """Time of the newest sample; `None` before the first."""
        return self._times[-1] if self._times else None

    def add(self, sample: ArrivalSample, *, in_order: bool = False) -> bool:
        """Take one sample.

        Args:
            sample: Where the partitions ended.
            in_order: The tape proves that the sample was written after all before it; an older time then means that the
                clock was set back. Without that proof only higher offsets prove it.

        Returns:
            Whether the sample is now the newest.
        """
        if not sample.end_offsets:
            return False
        row = self._row(sample.end_offsets)
        self._curve = None
        if not self._times or sample.at_s > self._times[-1]:
            return self._append(sample.at_s, row)
        behind_s = self._times[-1] - sample.at_s
        newest = np.fmax.reduce(np.array(self._rows[-2:]))
        grown = bool(np.any(row > newest))
        if behind_s > _CLOCK_STEP_S and (grown or (in_order and behind_s > self._settings.sample_gap_s)):
            self._set_back(sample.at_s, row)
            return True
        self._insert(sample.at_s, row)
        return False

    def rates(self, at_s: float) -> Rates | None:
        """Rates up to the newest sample; `None` when it is not of the present (`sample_fresh_s`) or the only one."""
        curve = self._fresh_curve(at_s)
        if curve is None:
            return None
        until_s = curve.until_s
        recent = curve.counts(60)
        known = recent[~np.isnan(recent)]
        shares = curve.by_partition(60.0)
        arrivals = float(shares.sum())
        covered_s = curve.covered_s(10.0)
        rates = curve.by_partition(10.0) / covered_s if covered_s > 0 else np.zeros(0)
        return Rates(
            at_s=until_s,
            last_1s=curve.rate(1.0),
            last_10s=curve.rate(10.0),
            last_60s=curve.rate(60.0),
            by_partition={p: round(float(rates[i]), 6) for p, i in self._partitions.items()} if rates.size else {},
            trend_per_s2=_trend(recent),
            burstiness=_dispersion(known),
            busiest_share=float(shares.max()) / arrivals
            if arrivals > 0 and curve.covered_s(60.0) >= covered_s > 0
            else None,
        )

    def history(self, at_s: float) -> ArrivalHistory | None:
        """Counts by second before the newest sample; `None` on the same terms as `rates`."""
        curve = self._fresh_curve(at_s)
        if curve is None:
            return None
        counts = curve.counts(min(int(self._settings.history_s), int(curve.until_s - curve.from_s)))
        shares = curve.by_partition(_SHARE_WINDOW_S)
        return ArrivalHistory(
            until_s=curve.until_s,
            counts=np.nan_to_num(counts.round(6)),
            known=~np.isnan(counts),
            by_partition={p: round(float(shares[i]), 6) for p, i in self._partitions.items()},
        )

    def _row(self, ends: Mapping[int, int]) -> Floats:
        """End offsets in the order in which partitions were first seen; NaN where this sample says nothing."""
        for partition in ends:
            self._partitions.setdefault(partition, len(self._partitions))
        width = len(self._partitions)
        if self._rows and self._rows[0].size < width:
            self._rows = [np.pad(row, (0, width - row.size), constant_values=np.nan) for row in self._rows]
        row = np.full(width, np.nan)
        for partition, end in ends.items():
            row[self._partitions[partition]] = end
        return row

    def _append(self, at_s: float, row: Floats) -> bool:
        if self._rows:
            known = self._rows[-1]
            lower = bool(np.any(row < known)) and not bool(np.any(row > known))
            self._lower_in_a_row = self._lower_in_a_row + 1 if lower else 0
            if lower and self._lower_in_a_row < _REBORN_AFTER:
                return False
            if lower:
                row = self._reborn(row)
        self._times.append(at_s)
        self._rows.append(row)
        self._joined.append(True)
        oldest = at_s - self._settings.history_s - self._settings.sample_gap_s
        drop = bisect.bisect_left(self._times, oldest)
        if drop:
            del self._times[:drop], self._rows[:drop], self._joined[:drop]
        return True

    def _reborn(self, row: Floats) -> Floats:
        """Forget the old topic, its partitions too, since the new one may have fewer; the row of the new ones."""
        self._times, self._rows, self._joined = [], [], []
        self._lower_in_a_row = 0
        there = [partition for partition, place in self._partitions.items() if not np.isnan(row[place])]
        kept = row[[self._partitions[partition] for partition in there]]
        self._partitions = {partition: place for place, partition in enumerate(there)}
        return kept

    def _insert(self, at_s: float, row: Floats) -> None:
        if at_s < self._times[-1] - self._settings.history_s:
            return
        place = bisect.bisect_left(self._times, at_s)
        if self._times[place] == at_s:
            self._rows[place] = np.fmax(self._rows[place], row)
            return
        self._times.insert(place, at_s)
        self._rows.insert(place, row)
        # A break stays before the sample that it was noted at; what is put in front of that sample is on the old clock.
        self._joined.insert(place, True)

    def _set_back(self, at_s: float, row: Floats) -> None:
        """Go on from a clock that was set back: drop what lies after the new present; the seam is not known."""
        keep = bisect.bisect_left(self._times, at_s)
        del self._times[keep:], self._rows[keep:], self._joined[keep:]
        self._times.append(at_s)
        self._rows.append(row)
        self._joined.append(False)

    def _fresh_curve(self, at_s: float) -> _Curve | None:
        if len(self._times) < 2 or abs(at_s - self._times[-1]) > self._settings.sample_fresh_s:  # noqa: PLR2004 - a difference
            return None
        if self._curve is None:
            self._curve = _Curve(self._times, np.array(self._rows), self._joined, self._settings.sample_gap_s)
        return self._curve


class _Curve:
    """Arrivals in sum and by partition as a piecewise linear function of time, with what is not known marked."""

    def __init__(self, times: list[float], ends: Floats, joined: list[bool], gap_s: float) -> None:
        self.from_s = times[0]
        self.until_s = times[-1]
        # Relative to the newest sample, whose float then has room for microseconds.
        self._t = np.asarray(times) - self.until_s
        self._ends = _mended(self._t, ends)
        self._total = self._ends.sum(axis=1)
        steps = np.diff(self._t)
        unknown = (steps > gap_s) | ~np.asarray(joined[1:], dtype=bool)
        #: Seconds not known before each sample.
        self._unknown_s = np.concatenate(([0.0], np.cumsum(np.where(unknown, steps, 0.0))))
        broken = np.flatnonzero(unknown)
        self._known_from = float(self._t[broken[-1] + 1]) if broken.size else float(self._t[0])

    def rate(self, window_s: float) -> float | None:
        """Records a second over the newest `window_s` seconds; `None` unless all of them are known."""
        if -window_s < self._known_from - _TIME_EPS_S:
            return None
        before = float(np.interp(-window_s, self._t, self._total))
        return round((float(self._total[-1]) - before) / window_s, 6)

    def covered_s(self, window_s: float) -> float:
        """Length in seconds of the known stretch at the end, at most `window_s`."""
        return min(window_s, -self._known_from)

    def counts(self, seconds: int) -> Floats:
        """Arrivals of each of the newest `seconds` seconds, oldest first; NaN where not known."""
        edges = np.arange(-seconds, 1, dtype=np.float64)
        counts = np.diff(np.interp(edges, self._t, self._total))
        known = np.diff(np.interp(edges, self._t, self._unknown_s)) < _TIME_EPS_S
        known &= edges[:-1] >= self._t[0] - _TIME_EPS_S
        return np.where(known, counts, np.nan)

    def by_partition(self, window_s: float) -> Floats:
        """Arrivals of each partition over `covered_s(window_s)` seconds."""
        start = -self.covered_s(window_s)
        right = int(np.clip(np.searchsorted(self._t, start, side="right"), 1, self._t.size - 1))
        left = right - 1
        part = (start - self._t[left]) / (self._t[right] - self._t[left])
        before = self._ends[left] + part * (self._ends[right] - self._ends[left])
        return np.asarray(self._ends[-1] - before, dtype=np.float64)


def _mended(times: Floats, ends: Floats) -> Floats:
    """End offsets (samples x partitions) made monotone, with what single samples left out filled in.

    A partition that appears counts from its first sight. One that is missing in the middle is interpolated. One that is
    missing at the end (its leader is away) is taken to go on at its rate of the 10 s before, since its producers did
    not stop. One that is missing in all samples (its leader is away for longer than they go back) adds nothing.
    """
    out = np.fmax.accumulate(ends, axis=0)
    for column in np.flatnonzero(np.isnan(ends).any(axis=0)):
        seen = np.flatnonzero(~np.isnan(ends[:, column]))
        if not seen.size:
            out[:, column] = 0.0
            continue
        out[:, column] = np.interp(times, times[seen], out[seen, column])
        last = int(seen[-1])
        if last < times.size - 1:
            since = times[last] - 10.0
            span = times[last] - max(since, times[seen[0]])
            grown = out[last, column] - float(np.interp(max(since, times[seen[0]]), times, out[:, column]))
            if span > 0:
                out[last + 1 :, column] = out[last, column] + grown / span * (times[last + 1 :] - times[last])
    return out


def _trend(counts: Floats) -> float | None:
    """Slope of one-second counts, records a second per second, by least squares; unknown seconds are left out."""
    seconds = np.flatnonzero(~np.isnan(counts))
    if seconds.size < _LEAST_COUNTS:
        return None
    t = seconds - seconds.mean()
    return round(float((t * counts[seconds]).sum() / (t * t).sum()), 6)


def _dispersion(counts: Floats) -> float | None:
    """Index of dispersion of one-second counts: variance over mean; 1 for Poisson arrivals, 0 for a metronome."""
    if counts.size < _LEAST_COUNTS:
        return None
    mean = float(counts.mean())
    return round(float(counts.var(ddof=1)) / mean, 6) if mean > 0 else None
