"""Which worker carries which partition, by the partitions' load: for partitions that differ.

Even partitions are shared out by their number (`streams.placement`, `autoscaler.simulation.assignment`). Where keys are
skewed that leaves the busiest worker with a multiple of its part, and the fleet is as large as the busiest asks for. So:

- free partitions go, largest first, to whom they make least busy (longest processing time first, R. L. Graham, 1969);
- then, while a worker is a tenth off its part, the busiest gives the least busy the partition, or swaps with it the
  pair, that leaves the busier of the two least busy. Each move drains a batch, so nothing else moves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How far a worker may be off its part of the load before partitions move for it.
SLACK = 0.1
#: Least relief of the busier of two workers that a move is worth.
_RELIEF = 0.02
#: Standard deviation of the partitions' loads over their mean from which on they count as skewed. Below, a worker of
#: eight partitions is off by 7 %: less than whole partitions are.
SKEWED = 0.2


def skewed(loads: Sequence[float]) -> bool:
    """Whether partitions differ so much that their number says too little.

    Args:
        loads: Of each partition, in any unit, what chance explains taken off (`split.smoothed_shares`).
    """
    total = sum(loads)
    if len(loads) < 2 or total <= 0:  # noqa: PLR2004 - one alone cannot differ
        return False
    mean = total / len(loads)
    return math.sqrt(sum((load - mean) ** 2 for load in loads) / len(loads)) > SKEWED * mean


def dealt(loads: Sequence[float], capacities: Sequence[float], owner: Sequence[int]) -> list[int]:
    """The owner of each partition, by load. Its own answer moves nothing.

    Args:
        loads: Of each partition, >= 0, in any unit.
        capacities: Of each worker, above 0, in any unit.
        owner: Present owner of each partition as a place in `capacities`; -1 = nobody of them.

    Returns:
        Owners by partition; all -1 when there is no worker.
    """
    if not capacities:
        return [-1] * len(loads)
    # What nobody asks for is carried too: it must lie somewhere, and not all in one place.
    least = 1e-6 * (max(loads, default=0.0) or 1.0)
    sizes = [max(load, least) for load in loads]
    new = list(owner)
    held: list[set[int]] = [set() for _ in capacities]
    carried = [0.0] * len(capacities)
    for partition, place in enumerate(new):
        if place >= 0:
            held[place].add(partition)
            carried[place] += sizes[partition]
    free = sorted((p for p, place in enumerate(new) if place < 0), key=lambda p: (-sizes[p], p))
    for partition in free:
        size = sizes[partition]
        place = min(range(len(carried)), key=lambda w: ((carried[w] + size) / capacities[w], w))
        new[partition] = place
        held[place].add(partition)
        carried[place] += size
    part = sum(sizes) / sum(capacities)
    # Who has one partition that is too much for anybody cannot be relieved; the others can.
    givers = set(range(len(capacities)))
    # Each move makes the busier of two less busy; the bound is for rounding.
    for _ in range(4 * len(sizes)):
        busy = [load / capacity for load, capacity in zip(carried, capacities, strict=True)]
        giver = max(givers, key=lambda w: (busy[w], -w), default=0)
        taker = min(range(len(busy)), key=lambda w: (busy[w], w))
        if not givers or (busy[giver] <= part * (1 + SLACK) and busy[taker] >= part * (1 - SLACK)):
            break
        given, taken = _best(giver, taker, held, carried, capacities, sizes, owner)
        if given is None:
            givers.discard(giver)
            continue
        for partition, here, there in ((given, giver, taker), (taken, taker, giver)):
            if partition is not None:
                new[partition] = there
                held[here].discard(partition)
                held[there].add(partition)
                carried[here] -= sizes[partition]
                carried[there] += sizes[partition]
    return new


def _best(
    giver: int,
    taker: int,
    held: Sequence[set[int]],
    carried: Sequence[float],
    capacities: Sequence[float],
    sizes: Sequence[float],
    owner: Sequence[int],
) -> tuple[int | None, int | None]:
    """What the giver hands over, and what it gets for it; of equal ones what moves least."""
    best = carried[giver] / capacities[giver] * (1 - _RELIEF)
    found: tuple[int | None, int | None] = (None, None)
    moves = math.inf
    for given in sorted(held[giver]):
        for taken in [None, *sorted(held[taker])]:
            size = sizes[given] - (0.0 if taken is None else sizes[taken])
            if size <= 0:
                continue
            busier = max((carried[giver] - size) / capacities[giver], (carried[taker] + size) / capacities[taker])
            moved = (owner[given] != taker) + (taken is not None and owner[taken] != giver)
            if busier < best - 1e-12 or (busier <= best + 1e-12 and moved < moves):
                best, found, moves = busier, (given, taken), moved
    return found
