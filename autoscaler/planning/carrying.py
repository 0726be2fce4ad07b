"""What part of the load a fleet cannot carry, for many rates and counts of workers at once.

Each of c workers owns whole partitions. With the load's shares on them l_1 .. l_c (`queueing.split`), worker i is
overloaded at rate r when l_i r > u mu, mu = its capacity and u the utilisation that it may reach. The part of the load
on overloaded workers is

    sum_i l_i [l_i r > u mu]

where the step is made a ramp of a few per cent, since a queue that is only just overloaded takes long to be late. The
table holds that sum over a grid of r / (u mu), so that a tick reads it instead of summing over workers.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.queueing import dealing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Counts up to this are all candidates; beyond, each is `_STEP` times the one before.
_ALL_UP_TO, _STEP = 64, 1.03
#: Rates in the grid, evenly spaced in their logarithm from `_LOWEST` workers' worth on.
_GRID, _LOWEST = 512, 0.25
#: Width of the ramp from carried to overloaded, as a part of the capacity.
_RAMP = 0.03
#: Partitions times counts up to which skewed shares are dealt out; beyond, the busiest is judged alone.
_PLACED = 20_000
#: Deals over which is averaged.
_DEALS = 8
#: Difference of two loads below which only rounding tells them apart.
_EQUAL = 1e-12
#: Load of one partition, in workers' worth, beyond which it is cut; and the steps in which the load is told for that.
_ALONE, _LOAD_STEP = 0.95, 1.1


@dataclass(frozen=True, slots=True, eq=False)
class Carrying:
    """The table for one set of shares."""

    #: Candidate counts, ascending, shape (c,).
    counts: Ints
    #: Load of the busiest worker as a part of all, by count, shape (c,).
    busiest: Floats
    #: Part of the load on the busier workers, and the most that one of the others has as a part of all, by count, shape
    #: (c,): of 64 even partitions 10 workers have 7 (four of them) or 6.
    heavy: Floats
    lighter: Floats
    #: Part of the load that is not carried, by rate and count, shape (grid + 1, c).
    table: Floats
    #: Logarithm of the highest rate in the grid over the lowest.
    span: float
    #: Price of each candidate in prices of one worker, shape (c,): what is weighed; of one type its count.
    price: Floats

    def place(self, count: int) -> int:
        """Place of the smallest candidate that is at least `count`; the last where all are smaller."""
        return min(int(np.searchsorted(self.counts, count)), self.counts.size - 1)

    def places(self, counts: Ints) -> Ints:
        """`place` of many counts at once."""
        return np.minimum(np.searchsorted(self.counts, counts), self.counts.size - 1)

    def overloaded(self, rates: Floats) -> Floats:
        """Mean part of the load on overloaded workers over equally likely rates, by candidate, shape (c,).

        Args:
            rates: In units of what one worker may carry (r / (u mu)), shape (n,).
        """
        where = np.log(np.maximum(rates, _LOWEST) / _LOWEST) / self.span * _GRID
        return np.asarray(self.table[np.minimum(where.astype(np.int64), _GRID)].mean(axis=0))


@functools.lru_cache(maxsize=16)
def carrying(shares: tuple[float, ...], most: int) -> Carrying:
    """The table for these shares.

    Args:
        shares: Of the partitions, largest first, summing to 1.
        most: Most workers; no more than partitions are of use.
    """
    counts = candidates(min(most, len(shares)))
    span = math.log(4.0 * counts[-1] / _LOWEST)
    rates = _LOWEST * np.exp(np.arange(_GRID + 1) / _GRID * span)
    table = np.empty((_GRID + 1, counts.size))
    busiest, heavy, lighter = np.empty(counts.size), np.empty(counts.size), np.empty(counts.size)
    for place, count in enumerate(counts.tolist()):
        loads, multiples = _loads(shares, count)
        busiest[place] = loads.max(axis=-1).mean()
        heavy[place], lighter[place] = _halves(loads, multiples)
        weights = (loads * multiples).ravel()
        over = np.clip((rates[:, None] * loads.ravel() - 1) / _RAMP + 0.5, 0.0, 1.0)
        table[:, place] = over @ weights
    return Carrying(counts, busiest, heavy, lighter, table, span, counts.astype(np.float64))


@functools.lru_cache(maxsize=16)
def pooled(most: int) -> Carrying:
    """The table where each of c workers has exactly 1 / c of the load: needs in workers' worth, whoever carries them.

    Args:
        most: Highest need.
    """
    counts = candidates(most)
    span = math.log(4.0 * counts[-1] / _LOWEST)
    rates = _LOWEST * np.exp(np.arange(_GRID + 1) / _GRID * span)
    busiest = 1.0 / counts
    table = np.clip((rates[:, None] * busiest - 1) / _RAMP + 0.5, 0.0, 1.0)
    return Carrying(counts, busiest, np.ones(counts.size), busiest, table, span, counts.astype(np.float64))


def carryable(shares: tuple[float, ...], load: float) -> tuple[float, ...]:
    """The shares with those cut that one worker alone cannot carry: no count of workers helps them.

    Left whole, they would make each count look as bad as any other, and the rest of the load be given up with them.

    Args:
        shares: Of the partitions, largest first.
        load: The most that is expected, in workers' worth.

    Returns:
        The shares, summing to less than 1 where some were cut.
    """
    if not shares or shares[0] * load <= _ALONE:
        return shares
    # In steps, so that a table serves for a while.
    most = _ALONE / _LOAD_STEP ** math.ceil(math.log(load, _LOAD_STEP))
    return tuple(min(share, most) for share in shares)


def candidates(most: int) -> Ints:
    """Counts that are tried, 1 to `most`: all small ones, then steps of 3 %."""
    counts = list(range(1, min(most, _ALL_UP_TO) + 1))
    while counts[-1] < most:
        counts.append(min(most, math.ceil(counts[-1] * _STEP)))
    return np.array(counts, dtype=np.int64)


def _loads(shares: Sequence[float], count: int) -> tuple[Floats, Floats]:
    """Loads on `count` workers as parts of all, the last axis one deal; and how many workers have each."""
    partitions = len(shares)
    more = partitions % count
    few = partitions // count
    even = shares[0] - shares[-1] < 1e-9  # noqa: PLR2004 - equal but for rounding
    if even or partitions * count > _PLACED:
        high, low = (few + 1) / partitions, few / partitions
        loads = np.array([high if more else low, low])
        if not even:
            loads[0] = max(loads[0], shares[0])
        return loads, np.array([float(more or count), float(count - (more or count))])
    if dealing.skewed(shares):
        owner = dealing.dealt(shares, [1.0] * count, [-1] * partitions)
        return np.bincount(owner, shares, count).astype(np.float64), np.ones(())
    # The group shares partitions out by their number and knows nothing of their load: as the cards fall.
    sizes = np.repeat((few + 1, few), (more, count - more))
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    return np.add.reduceat(np.asarray(shares)[_deals(partitions)], starts, axis=1), np.full((), 1 / _DEALS)


def _halves(loads: Floats, multiples: Floats) -> tuple[float, float]:
    """Part of the load on workers nearer to the busiest than to the idlest; the most that one of the others has."""
    busiest = loads.max(axis=-1, keepdims=True)
    near = loads >= (busiest + loads.min(axis=-1, keepdims=True)) / 2 - _EQUAL
    part = float((loads * multiples)[near].sum() / (loads * multiples).sum())
    rest = np.where(near, 0.0, loads).max(axis=-1)
    return part, float(np.where(rest > 0, rest, busiest[..., 0]).mean())


@functools.lru_cache(maxsize=8)
def _deals(partitions: int) -> Ints:
    """The same few random orders every time, shape (deals, partitions)."""
    rng = np.random.default_rng(1)
    return np.array([rng.permutation(partitions) for _ in range(_DEALS)])
