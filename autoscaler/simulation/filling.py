"""Requests placed in time: inside bins, by a smoothed rate, more or less clustered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Counts = NDArray[np.int64]

#: Resolution at which rates are integrated and modulated, in simulated seconds.
SLOT_S = 1.0


def slots(length_s: float) -> Numbers:
    """Edges of the slots; the last is cut short."""
    return np.append(np.arange(0.0, length_s - 1e-9, SLOT_S), length_s)


def smoothed(rates: Numbers, width_s: float) -> Numbers:
    """Moving average over the odd number of slots nearest to `width_s`; at the ends the load is mirrored."""
    slots = min(2 * round((width_s / SLOT_S - 1) / 2) + 1, 2 * rates.size - 1)
    if slots <= 1:
        return rates
    padded = np.pad(rates, slots // 2, mode="symmetric")
    sums = np.concatenate(([0.0], np.cumsum(padded)))
    # Differences of sums may be off by a rounding below 0.
    return np.asarray(np.maximum(sums[slots:] - sums[:-slots], 0.0) / slots)


def gamma(expected: Numbers, dispersion: float, rng: np.random.Generator) -> Numbers:
    """Multipliers of mean 1 that give Poisson counts of these means the dispersion (variance over mean)."""
    if dispersion <= 1:
        return np.ones_like(expected)
    shape = np.maximum(expected, 1e-9) / (dispersion - 1)
    return np.asarray(rng.gamma(shape) / shape)


def inside_wide(
    counts: Counts, bins: Numbers, *, slot_edges: Numbers, rates: Numbers, dispersion: float, rng: np.random.Generator
) -> Numbers:
    """Times of `counts` requests inside their bins, by the smoothed rates and the dispersion.

    Args:
        counts: Requests by bin, shape (n,).
        bins: Edges of the bins, shape (n + 1,).
        slot_edges: Edges of the slots, shape (m + 1,).
        rates: Rate by slot, of any scale, shape (m,).
        dispersion: Variance over mean inside the bins.
        rng: What draws.
    """
    edges = np.union1d(bins, slot_edges)
    of_bin = np.searchsorted(bins, edges[:-1], side="right") - 1
    of_slot = np.minimum(np.searchsorted(slot_edges, edges[:-1], side="right") - 1, rates.size - 1)
    weights = rates[of_slot] * np.diff(edges)
    sums = np.bincount(of_bin, weights, counts.size)
    # A bin whose surroundings are empty too has no shape: evenly then.
    weights = np.where(sums[of_bin] > 0, weights, np.diff(edges))
    sums = np.bincount(of_bin, weights, counts.size)
    shaped = weights * gamma(weights / sums[of_bin] * counts[of_bin], dispersion, rng)
    # A dispersion far above what few requests can show makes all multipliers of a bin 0: no shape then either.
    weights = np.where(np.bincount(of_bin, shaped, counts.size)[of_bin] > 0, shaped, weights)
    first = np.searchsorted(of_bin, np.arange(counts.size + 1))
    drawn = np.zeros(weights.size, dtype=np.int64)
    for number, count in enumerate(counts):
        inside = slice(first[number], first[number + 1])
        part = weights[inside]
        drawn[inside] = rng.multinomial(count, part / part.sum())
    return placed(drawn, edges[:-1], edges[1:], rng)


def placed(counts: Counts, low: Numbers, high: Numbers, rng: np.random.Generator) -> Numbers:
    """Times of `counts` requests, uniform between the ends of their bins, ascending."""
    places = rng.random(int(counts.sum()))
    places *= np.repeat(high - low, counts)
    places += np.repeat(low, counts)
    places.sort()
    # Rounding must not put an arrival on the very end, which belongs to no bin.
    return np.minimum(places, np.nextafter(high[-1], 0.0)) if high.size else places
