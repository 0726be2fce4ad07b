"""The compiled part of planning with the load known: a dynamic program over time, fleet and backlog.

Backlog is a fluid: what arrives in each second less what the fleet carries. A record is late when the wait at its
arrival, backlog over capacity, is longer than the objective leaves. The price of a late record is given; who asks
finds the one at which the share of late records is as wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@njit(cache=True)  # type: ignore[untyped-decorator] # numba has no types
def second(backlog: float, arrivals: float, carried: float, patience_s: float) -> tuple[float, float]:
    """Backlog after one second, and how many of its arrivals are late."""
    after = max(0.0, backlog + arrivals - carried)
    if carried <= 0.0:
        return after, arrivals
    first_s, last_s = backlog / carried - patience_s, after / carried - patience_s
    if first_s <= 0.0 and last_s <= 0.0:
        return after, 0.0
    if first_s > 0.0 and last_s > 0.0:
        return after, arrivals
    return after, arrivals * max(first_s, last_s) / abs(first_s - last_s)


@njit(cache=True)  # type: ignore[untyped-decorator] # numba has no types
def plan(  # noqa: C901, PLR0912, PLR0915, PLR0917 - compiled as one loop
    per_s: Floats,
    step_s: int,
    counted_from: int,
    price_per_s: Floats,
    carried_per_s: Floats,
    change_price: Floats,
    moved: Floats,
    pause_s: float,
    patience_s: float,
    earliest: Ints,
    late_price: float,
    grid: Floats,
    chosen: Ints,
) -> float:
    """The cheapest fleet in each step, and how many records are then late; fleet 0 at the start.

    Args:
        per_s: Arrivals in each second, shape (steps * step_s,).
        step_s: Seconds of a step.
        counted_from: First second in which cost and late records count.
        price_per_s: Of each fleet, shape (F,).
        carried_per_s: Records a second that it carries, shape (F,).
        change_price: Price of a change, shape (F, F).
        moved: Part of the partitions that pauses in it, shape (F, F).
        pause_s: Seconds of that.
        patience_s: Seconds that a record may wait.
        earliest: First step in which a change from one fleet to another is possible, shape (F, F).
        late_price: Of one late record.
        grid: Backlogs, ascending from 0, shape (B,).
        chosen: Fleet in each step, shape (steps,); written.
    """
    steps, fleets, levels = chosen.size, price_per_s.size, grid.size
    best = np.zeros((steps, fleets, levels), dtype=np.int16)
    value = np.zeros((fleets, levels))
    for f in range(fleets):
        for level in range(levels):
            value[f, level] = late_price * max(0.0, grid[level] - carried_per_s[f] * patience_s)
    inside = np.empty((fleets, levels))
    for step in range(steps - 1, -1, -1):
        from_s = step * step_s
        counts = from_s >= counted_from
        rate = 0.0
        for s in range(from_s, from_s + step_s):
            rate += per_s[s] / step_s
        for f in range(fleets):
            for level in range(levels):
                backlog, late = grid[level], 0.0
                for s in range(from_s, from_s + step_s):
                    backlog, more = second(backlog, per_s[s], carried_per_s[f], patience_s)
                    late += more
                place = int(np.searchsorted(grid, backlog))
                if place >= levels:
                    # Beyond the grid: priced as late altogether.
                    ahead = value[f, levels - 1] + late_price * (backlog - grid[levels - 1])
                elif place == 0:
                    ahead = value[f, 0]
                else:
                    part = (backlog - grid[place - 1]) / (grid[place] - grid[place - 1])
                    ahead = value[f, place - 1] * (1 - part) + value[f, place] * part
                now = price_per_s[f] * step_s + late * late_price if counts else 1e-9 * price_per_s[f]
                inside[f, level] = now + ahead
        for f in range(fleets):
            for level in range(levels):
                value[f, level] = np.inf
        for f in range(fleets):
            for g in range(fleets):
                change = 0.0
                if f != g:
                    if step < earliest[f, g]:
                        continue
                    change = change_price[f, g]
                    if counts:
                        change += late_price * held_up(rate, carried_per_s[g], moved[f, g], pause_s, patience_s)
                for level in range(levels):
                    total = change + inside[g, level]
                    if total < value[f, level]:
                        value[f, level] = total
                        best[step, f, level] = g
    backlog, late, f = 0.0, 0.0, 0
    for step in range(steps):
        place = int(np.searchsorted(grid, backlog))
        place = min(place, levels - 1)
        if place > 0 and backlog - grid[place - 1] < grid[place] - backlog:
            place -= 1
        g = best[step, f, place]
        from_s = step * step_s
        counts = from_s >= counted_from
        rate = 0.0
        for s in range(from_s, from_s + step_s):
            rate += per_s[s] / step_s
            backlog, more = second(backlog, per_s[s], carried_per_s[g], patience_s)
            if counts:
                late += more
        if g != f and counts:
            late += held_up(rate, carried_per_s[g], moved[f, g], pause_s, patience_s)
        f = g
        chosen[step] = f
    return late


@njit(cache=True)  # type: ignore[untyped-decorator] # numba has no types
def held_up(rate: float, carried: float, moved: float, pause_s: float, patience_s: float) -> float:
    """Records late from a pause of a part of the partitions.

    Those that arrive in its first seconds, and behind them until the new owner has caught up: (pause - patience) /
    (1 - utilisation) seconds.
    """
    if pause_s <= patience_s:
        return 0.0
    utilisation = min(0.95, rate / carried) if carried > 0.0 else 0.95
    return rate * moved * (pause_s - patience_s) / (1 - utilisation)
