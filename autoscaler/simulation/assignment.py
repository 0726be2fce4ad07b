"""Who owns which partition after a rebalance: in proportion to capacity, and as few moves as that allows.

Skewed partitions are shared out by their load (`autoscaler.queueing.dealing`), as a group does that has measured it.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from autoscaler.queueing import dealing

if TYPE_CHECKING:
    from collections.abc import Sequence


def quotas(partitions: int, capacities: Sequence[float], held: Sequence[int]) -> list[int]:
    """How many partitions each worker gets: in proportion to capacity, so that the busiest is least busy.

    Each gets its ideal rounded down; each partition that is left goes to the least (quota + 1) / capacity, but first to
    who holds it, where nobody gets busier than the busiest by that: the rule of `streams.placement` for a real group.

    Args:
        partitions: Number of partitions.
        capacities: Of each worker, all above 0.
        held: Partitions that each holds now.
    """
    if not capacities:
        return []
    total = sum(capacities)
    # A rounding must not tell equals apart.
    given = [int(partitions * capacity / total + 1e-9) for capacity in capacities]
    rest = partitions - sum(given)
    if not rest:
        return given
    evened = _evened(given, rest, capacities, held)
    busiest = max(n / capacity for n, capacity in zip(evened, capacities, strict=True))
    for i in sorted(range(len(given)), key=lambda i: (-held[i], i)):
        kept = max(0, min(held[i], int(capacities[i] * busiest + 1e-9)) - given[i])
        given[i] += min(kept, rest)
        rest -= min(kept, rest)
    return _evened(given, rest, capacities, held)


def _evened(given: Sequence[int], rest: int, capacities: Sequence[float], held: Sequence[int]) -> list[int]:
    """With the rest given, one by one, to whom it makes least busy."""
    out, scale = list(given), sum(capacities)
    heap = [(round((out[i] + 1) * scale / c, 6), -held[i], i) for i, c in enumerate(capacities)]
    heapq.heapify(heap)
    for _ in range(rest):
        _, holds, i = heap[0]
        out[i] += 1
        heapq.heapreplace(heap, (round((out[i] + 1) * scale / capacities[i], 6), holds, i))
    return out


def assign(
    partitions: int, capacities: Sequence[float], owner: Sequence[int], loads: Sequence[float] = ()
) -> list[int]:
    """The new owner of each partition.

    Args:
        partitions: Number of partitions.
        capacities: Of each worker, by its place.
        owner: Present owner of each partition as a place in `capacities`; -1 = nobody of them.
        loads: Of each partition, in any unit, where they are skewed (`dealing.skewed`); none = alike.

    Returns:
        Owners by partition; all -1 when there is no worker.
    """
    if not capacities:
        return [-1] * partitions
    if loads and partitions * len(capacities) <= dealing.MOST:
        return dealing.dealt(loads, capacities, owner)
    held = [0] * len(capacities)
    for place in owner:
        if place >= 0:
            held[place] += 1
    left = quotas(partitions, capacities, held)
    new = [-1] * partitions
    for p, place in enumerate(owner):
        if place >= 0 and left[place] > 0:
            new[p] = place
            left[place] -= 1
    # Each in turn, so that neighbouring partitions spread.
    takers = [place for place, count in enumerate(left) if count > 0]
    at = 0
    for p in range(partitions):
        if new[p] < 0:
            at %= len(takers)
            place = takers[at]
            new[p] = place
            left[place] -= 1
            if left[place]:
                at += 1
            else:
                takers.pop(at)
    return new
