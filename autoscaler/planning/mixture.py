"""The cheapest mix of worker types for a need, exactly, for all needs at once.

The *fast* type is the one that serves soonest after it is asked for; a need is counted in its workers' worth. The
others are *slow*. A partition belongs to one worker, and the group shares them out so that the busiest worker is least
busy (`streams.placement`). So a fleet carries a load of R workers' worth if and only if its workers can hold all P
partitions between them, where a worker worth w holds at most q_w(R) of them:

    minimise    sum over k of price_k n_k
    subject to  sum over k of q_k(R) n_k >= P,    low <= sum over k of n_k <= high,    min_k <= n_k <= max_k

the program of `planning.fleet_program` for one period. It is solved by enumeration: for given counts of the slow types
the least count of the fast one is ceil((P - sum q_k n_k) / q_fast). With even partitions q_w(R) = floor(P w / R). With
uneven ones the n partitions of a worker hold more than n / P of the load; they are given out by number, so which they
are is chance, and q_w is the most that fit at 1.5 standard deviations of such a draw.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.planning.carrying import candidates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Combinations of slow types that are looked at, at most: with three types 16 of each.
MOST = 400
#: Standard deviations above the mean at which the load of a worker's partitions is taken.
_DEVIATIONS = 1.5
#: A need that no fleet carries is priced by this for each worker's worth that is missing, in prices of a fast worker.
_MISSING = 10.0


@dataclass(frozen=True, slots=True)
class MixKind:
    """A worker type as the mix sees it."""

    name: str
    #: Capacity of one worker over that of one fast worker.
    worth: float
    price_per_hour: float
    min_workers: int
    max_workers: int


@dataclass(frozen=True, slots=True, eq=False)
class Mixes:
    """The cheapest fleets: by combination of slow types (m) and level of need (L)."""

    #: The fast type is the last.
    kinds: tuple[MixKind, ...]
    #: Needs in fast workers' worth, ascending, shape (L,).
    levels: Ints
    #: Counts of the slow types, shape (m, types - 1).
    slow: Ints
    #: Least fast workers beside them; the most that are allowed where even they are too few; shape (m, L).
    fast: Ints
    #: Price an hour, with what is missing priced too, shape (m, L).
    price: Floats
    #: Whether the fleet carries the need, shape (m, L).
    carries: NDArray[np.bool_]
    #: Counts that occur, ascending, by slow type.
    steps: tuple[Ints, ...]
    #: Place of the nearest combination that is not larger, by place in `steps` of each slow type.
    index: Ints

    def place(self, need: float) -> int:
        """Place of the smallest level that is at least `need`; the last where all are smaller."""
        return min(int(np.searchsorted(self.levels, need - 1e-9)), self.levels.size - 1)

    def rows(self, counts: Ints) -> Ints:
        """Places of combinations of slow types, shape (n, types - 1): the nearest that is not larger in any of them.

        The first, of the least counts, where none is that small.
        """
        found = [np.searchsorted(steps, counts[:, kind], "right") - 1 for kind, steps in enumerate(self.steps)]
        small = np.any([places < 0 for places in found], axis=0)
        return np.asarray(np.where(small, 0, self.index[tuple(np.maximum(places, 0) for places in found)]))

    def fleet(self, row: int, level: int) -> tuple[int, ...]:
        """Workers by type, the fast type last."""
        return (*self.slow[row].tolist(), int(self.fast[row, level]))

    def cheapest(self, need: float) -> tuple[int, ...]:
        """The cheapest fleet for a need that lasts; of equal ones the one with fewest slow workers."""
        level = self.place(need)
        return self.fleet(int(np.argmin(self.price[:, level])), level)


@functools.lru_cache(maxsize=16)
def mixes(kinds: tuple[MixKind, ...], shares: tuple[float, ...], *, fewest: int = 0, most: int | None = None) -> Mixes:
    """The table for these types and partitions.

    Args:
        kinds: The fast type last; worth 1.
        shares: Of the partitions, summing to 1.
        fewest: Fewest workers in all.
        most: Most workers in all; never more than partitions.
    """
    partitions = len(shares)
    most = partitions if most is None else min(most, partitions)
    fast = kinds[-1]
    tops = [min(kind.max_workers, most) for kind in kinds]
    levels = candidates(max(1, math.ceil(sum(top * kind.worth for top, kind in zip(tops, kinds, strict=True)))))
    slow = _combinations(kinds[:-1], tops, most)
    # Where even the fewest of all types are too many, the upper bound wins.
    roomy = slow.sum(axis=1) + min(fast.min_workers, tops[-1]) <= most
    slow = slow[roomy] if roomy.any() else slow
    held = np.array([_held(kind.worth, levels, shares) for kind in kinds])
    missing = partitions - slow @ held[:-1]
    beside = slow.sum(axis=1)
    with np.errstate(divide="ignore"):
        needed = np.where(missing <= 0, 0, np.where(held[-1] > 0, np.ceil(missing / np.maximum(held[-1], 1)), np.inf))
    low = np.maximum(fast.min_workers, fewest - beside)[:, None]
    high = np.minimum(fast.max_workers, most - beside)[:, None]
    counts = np.clip(needed, np.minimum(low, high), high)
    carries = needed <= high
    carried = np.where(carries, levels, 0).max(axis=1)
    price = slow @ np.array([kind.price_per_hour for kind in kinds[:-1]]) if len(kinds) > 1 else np.zeros(len(slow))
    per_worth = _MISSING * max(kind.price_per_hour / kind.worth for kind in kinds)
    total = price[:, None] + counts * fast.price_per_hour
    total = total + np.where(carries, 0.0, per_worth * np.maximum(1.0, levels - carried[:, None]))
    steps, index = _index(slow)
    return Mixes(
        kinds=kinds,
        levels=levels,
        slow=slow,
        fast=counts.astype(np.int64),
        price=total,
        carries=carries,
        steps=steps,
        index=index,
    )


def _combinations(slow: tuple[MixKind, ...], tops: list[int], most: int) -> Ints:
    """Counts of the slow types within their bounds; where there are too many, each type's are thinned out."""
    ranges = [
        list(range(min(kind.min_workers, top), top + 1)) for kind, top in zip(slow, tops[: len(slow)], strict=True)
    ]
    while math.prod(map(len, ranges)) > MOST:
        longest = max(ranges, key=len)
        # Small counts differ most from each other.
        longest[:] = longest[:4] + longest[5::2] if len(longest) > 8 else longest[:-1]  # noqa: PLR2004
    found = [counts for counts in itertools.product(*ranges) if sum(counts) <= most]
    return np.array(found, dtype=np.int64).reshape(len(found), len(slow))


def _index(slow: Ints) -> tuple[tuple[Ints, ...], Ints]:
    """For `Mixes.steps` and `Mixes.index`: of those that are not larger the one of most workers, then the first.

    The best of all that are not larger in any type is the running maximum along one axis after the other.
    """
    count = len(slow)
    steps = tuple(np.unique(slow[:, kind]) for kind in range(slow.shape[1]))
    if not steps:
        return steps, np.zeros((), dtype=np.int64)
    best = np.full(tuple(one.size for one in steps), -1, dtype=np.int64)
    places = tuple(np.searchsorted(one, slow[:, kind]) for kind, one in enumerate(steps))
    best[places] = slow.sum(axis=1) * count + np.arange(count)[::-1]
    for axis in range(best.ndim):
        np.maximum.accumulate(best, axis=axis, out=best)
    return steps, np.where(best < 0, 0, count - 1 - best % count)


def _held(worth: float, levels: Ints, shares: tuple[float, ...]) -> Ints:
    """Most partitions that a worker can hold at each need, shape (L,)."""
    partitions = len(shares)
    numbers = np.arange(1, partitions + 1)
    sizes = np.asarray(shares) * partitions
    spread = float(sizes.std())
    loads = numbers + _DEVIATIONS * spread * np.sqrt(numbers * (1 - numbers / partitions))
    # Never more than the largest of them together.
    loads = np.minimum(np.maximum.accumulate(loads), np.cumsum(np.sort(sizes)[::-1]))
    return np.asarray(np.searchsorted(loads, partitions * worth / levels + 1e-9, side="right"), dtype=np.int64)
