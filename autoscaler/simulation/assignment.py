"""Who owns which partition after a rebalance: in proportion to capacity, and as few moves as that allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def quotas(partitions: int, capacities: Sequence[float], held: Sequence[int]) -> list[int]:
    """How many partitions each worker gets: `partitions` shared in proportion to capacity by largest remainder.

    Args:
        partitions: Number of partitions.
        capacities: Of each worker, all above 0.
        held: Partitions that each holds now: of equal remainders, who holds more keeps more, so that fewer move.
    """
    if not capacities:
        return []
    total = sum(capacities)
    exact = [partitions * capacity / total for capacity in capacities]
    given = [int(share + 1e-9) for share in exact]
    order = sorted(range(len(exact)), key=lambda i: (-round(exact[i] - given[i], 9), -held[i], i))
    for i in order[: partitions - sum(given)]:
        given[i] += 1
    return given


def assign(partitions: int, capacities: Sequence[float], owner: Sequence[int]) -> list[int]:
    """The new owner of each partition.

    Args:
        partitions: Number of partitions.
        capacities: Of each worker, by its place.
        owner: Present owner of each partition as a place in `capacities`; -1 = nobody of them.

    Returns:
        Owners by partition; all -1 when there is no worker.
    """
    if not capacities:
        return [-1] * partitions
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
