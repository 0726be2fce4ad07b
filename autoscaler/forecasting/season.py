"""Seasons: a period that the recorded buckets show by themselves, and those of the calendar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Shortest period looked for, in buckets: two minutes. Shorter ones are in the autoregression.
_SHORTEST = 24
#: Cycles that must have been seen before a period is believed.
_CYCLES = 2.2
#: Least autocorrelation at the period, once each bucket's own noise is taken out.
_LEAST = 0.5
#: Share of the highest peak that another must reach to be the period instead.
_ABOUT = 0.9
#: Cycles that are averaged, the newest first.
_AVERAGED = 3
#: Buckets behind the level by which a past cycle is scaled to the present one.
_REFERENCE = 6
#: What is left of that scaling after each bucket.
_SCALING_KEPT = 0.97


def period(buckets: Floats) -> int | None:
    """Period in buckets by the highest peak of the autocorrelation; `None` = no season is seen.

    Args:
        buckets: Rates, oldest first, NaN where not known.
    """
    correlation = _autocorrelation(buckets, int(buckets.size / _CYCLES))
    if correlation is None:
        return None
    # Only what has come down in between comes again.
    dips = np.flatnonzero(correlation < _LEAST / 2)
    first = max(_SHORTEST, int(dips[0])) if dips.size else correlation.size
    peaks = correlation[first:]
    if not peaks.size or float(peaks.max()) < _LEAST:
        return None
    # The first of the peaks that are about as high as the highest: its multiples are periods too.
    near = peaks > _ABOUT * float(peaks.max())
    start = int(np.argmax(near))
    after = np.flatnonzero(~near[start:])
    stop = start + int(after[0]) if after.size else peaks.size
    found = first + start + int(np.argmax(peaks[start:stop]))
    return found if found < correlation.size - 1 else None


def _autocorrelation(buckets: Floats, longest: int) -> Floats | None:
    """Correlation at the lags 0 to `longest`, relative to lag 1: a bucket's own noise stands at lag 0 only."""
    known = ~np.isnan(buckets)
    if longest <= _SHORTEST or not known.any():
        return None
    deviations = np.where(known, buckets - buckets[known].mean(), 0.0)
    size = 1 << (2 * buckets.size - 1).bit_length()
    # Sums of products over the pairs that are both known, divided by how many there are.
    products = np.fft.irfft(np.abs(np.fft.rfft(deviations, size)) ** 2, size)[: longest + 1]
    pairs = np.fft.irfft(np.abs(np.fft.rfft(known.astype(np.float64), size)) ** 2, size)[: longest + 1]
    correlation = products / np.maximum(pairs, 1.0)
    return correlation / correlation[1] if correlation[1] > _LEAST * correlation[0] else None


def ahead(buckets: Floats, length: int, level: float, steps: int) -> Floats | None:
    """What came after the same moment of the cycles before, scaled to the present level, shape (steps,).

    Args:
        buckets: Rates, oldest first, NaN where not known.
        length: Period in buckets.
        level: The rate of now, records a second.
        steps: Buckets ahead.
    """
    n = buckets.size
    found = []
    kept = _SCALING_KEPT ** np.arange(1, steps + 1)
    for cycle in range(1, _AVERAGED + 1):
        start = n - cycle * length
        if start < _REFERENCE:
            break
        after = buckets[start : start + steps]
        if after.size < steps:
            after = np.append(after, buckets[start + after.size - length : start + steps - length])
        reference = float(buckets[start - _REFERENCE // 2 : start + _REFERENCE // 2].mean())
        if after.size == steps and np.isfinite(reference) and np.isfinite(after).all():
            ratio = min(2.0, max(0.5, (level + 1e-9) / (reference + 1e-9)))
            found.append(after * ratio**kept)
    return np.asarray(np.mean(found, axis=0)) if found else None
