"""Seasons of the calendar: a profile over the day or the week, learnt bin by bin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Most bins of a profile: minutes of a day.
_MOST_BINS = 1440
#: Buckets in a bin, at least: one alone is noise.
_LEAST_BUCKETS = 2
#: Weight of the newest season in a bin's mean: three seasons later a third of it is left.
_NEWEST = 0.3
#: Seasons that must have been seen at a time of the day before it is believed.
_SEASONS = 2
#: Where the profile is below this share of its mean, it is added instead of multiplied.
_THIN = 0.2
#: Most that the rate of now is multiplied by.
_MOST_RATIO = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Calendar:
    """Mean rate by time of the season."""

    period_s: float
    #: Seconds of a bin.
    bin_s: float
    #: Mean rate by bin, with exponential forgetting, shape (bins,).
    means: Floats
    #: Seasons seen by bin, shape (bins,).
    seen: NDArray[np.int64]
    #: The bin under way, the sum of its bucket rates and how many there were.
    bin: int = -1
    total: float = 0.0
    count: int = 0
    #: Most seasons seen in any bin.
    most: int = 0

    @classmethod
    def initial(cls, period_s: float, bucket_s: float) -> Calendar:
        """Nothing learnt.

        Args:
            period_s: Length of the season in seconds.
            bucket_s: Length of a bucket in seconds.
        """
        bins = max(1, min(_MOST_BINS, int(period_s / (bucket_s * _LEAST_BUCKETS))))
        return cls(period_s, period_s / bins, np.zeros(bins), np.zeros(bins, dtype=np.int64))

    def learnt(self, at_s: float, rate: float, bucket_s: float) -> Calendar:
        """After a bucket that ended at `at_s` (Unix seconds) with `rate` records a second."""
        place = int((at_s - bucket_s / 2) % self.period_s / self.bin_s) % self.means.size
        if place == self.bin:
            return replace(self, total=self.total + rate, count=self.count + 1)
        means, seen = self.means, self.seen
        # A bin of which less than half was seen says nothing.
        if self.count * bucket_s >= self.bin_s / 2:
            means, seen = means.copy(), seen.copy()
            weight = max(1 / (int(seen[self.bin]) + 1), _NEWEST)
            means[self.bin] += weight * (self.total / self.count - means[self.bin])
            seen[self.bin] += 1
        most = max(self.most, int(seen[self.bin]))
        return replace(self, means=means, seen=seen, bin=place, total=rate, count=1, most=most)

    def ahead(self, at_s: float, level: float, steps: int, bucket_s: float) -> Floats | None:
        """Rates of the buckets after `at_s`, shape (steps,): the profile, brought to the rate of now.

        `None` = two seasons have not been seen at these times.
        """
        if self.most < _SEASONS:
            return None
        times = at_s + bucket_s * np.concatenate(([-0.5], np.arange(steps) + 0.5))
        place = times % self.period_s / self.bin_s - 0.5
        low = np.floor(place).astype(np.int64)
        part = place - low
        low %= self.means.size
        high = (low + 1) % self.means.size
        if int(self.seen[low].min()) < _SEASONS or int(self.seen[high].min()) < _SEASONS:
            return None
        profile = self.means[low] * (1 - part) + self.means[high] * part
        now = float(profile[0])
        if now <= _THIN * float(self.means.mean()):
            return np.asarray(np.maximum(level + profile[1:] - now, 0.0))
        return np.asarray(level * np.minimum(profile[1:] / now, _MOST_RATIO))
