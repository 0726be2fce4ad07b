"""Which slow workers to have: what is expected to stay, against what it costs to change.

A slow worker (a GPU) is ordered long before it serves, moves a large part of the partitions when it does, and is paid
whether the load stays or not. So for each combination of slow types, over sample paths of the need as far as the
slowest boot and some time of use behind it:

    cost = sum over time of  price of the slow workers asked for
                             + E[price of the fast workers beside those that serve by then, and of what is late]
         + late price x load x part of the partitions that move x seconds for which they are late

The fast workers beside are what covers a boot. A combination is left only for one that is cheaper over that time with
its change paid, so one that does not pay back within its expected stay is not made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from autoscaler.planning.mixture import Mixes

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Seconds for which fast workers are had at least: their boot, and until they are let go.
_WHILE_S = 30.0
#: Part of its cost by which another combination must be better: a hair's breadth moves no GPU.
_WORTH_A_CHANGE = 0.01


@dataclass(frozen=True, slots=True)
class Slow:
    """The workers of one slow type."""

    declared: int
    serving: int
    #: Seconds until each of those that start serves.
    starting_in_s: tuple[float, ...]
    #: Seconds until one that is asked for now would.
    boot_s: float


def costs(
    mixes: Mixes,
    slow: Sequence[Slow],
    loads: Floats,
    *,
    step_s: float,
    late_price: float,
    move_price: float,
    serving_worth: float,
) -> Floats:
    """Expected cost of asking for each combination now, in price an hour times seconds, shape (m,).

    Args:
        mixes: All combinations.
        slow: The slow types as they are, in the order of `mixes`.
        loads: Paths of the load in fast workers' worth over what one may carry, shape (paths, steps).
        step_s: Length of a step in seconds.
        late_price: Price an hour of all load being late, for each worker's worth of it.
        move_price: Price of moving all partitions once, in price an hour times seconds.
        serving_worth: Worth of all workers that serve, the fast ones too.
    """
    steps = loads.shape[1]
    of_slow = mixes.slow @ np.array([kind.price_per_hour for kind in mixes.kinds[:-1]])
    beside = mixes.price - of_slow[:, None]
    total = of_slow * steps * step_s
    width = max(1, round(_WHILE_S / step_s))
    for first in range(0, steps, width):
        highest = loads[:, first : first + width].max(axis=1)
        # Part of the paths that each level does not carry: the fast workers beside are as many as pay.
        over = (highest[:, None] > mixes.levels + 1e-9).mean(axis=0)
        price = (beside + late_price * highest.mean() * over).min(axis=1)
        at_s = first * step_s
        there = np.array([one.serving + sum(s <= at_s for s in one.starting_in_s) for one in slow])
        booted = np.array([at_s >= one.boot_s for one in slow])
        counts = np.where(booted, mixes.slow, np.minimum(mixes.slow, there))
        total = total + price[mixes.rows(counts)] * min(width, steps - first) * step_s
    worths = np.array([kind.worth for kind in mixes.kinds[:-1]])
    moved = np.abs(mixes.slow - np.array([one.serving for one in slow])) @ worths
    return np.asarray(total + move_price * np.minimum(1.0, moved / np.maximum(serving_worth, moved)))


def chosen(mixes: Mixes, slow: Sequence[Slow], found: Floats) -> int:
    """The combination to ask for: the present one unless another is clearly cheaper."""
    best = int(np.argmin(found))
    now = int(mixes.rows(np.array([[one.declared for one in slow]]))[0])
    return best if found[best] < (1 - _WORTH_A_CHANGE) * found[now] else now
