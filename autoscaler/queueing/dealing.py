"""Which worker carries which partition, by the partitions' load: for partitions that differ.

Even partitions are shared out by their number (`streams.placement`, `autoscaler.simulation.assignment`). Where keys are
skewed that leaves the busiest worker with a multiple of its part, and the fleet is as large as that one asks for. So:

- free partitions go, largest first, to whom they make least busy (longest processing time first, R. L. Graham, 1969);
- then, while a worker is a tenth off its part, the busiest gives the least busy the partition that leaves the busier of
  the two least busy, or, where no single one helps, swaps the best pair. Each move drains a batch: nothing else moves.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: How far a worker may be off its part of the load before partitions move for it.
SLACK = 0.1
#: Partitions times workers up to which is dealt: the group's leader must not think for seconds.
MOST = 500_000
#: Part of a load by which two may differ and be the same.
_ROUNDING = 1e-9
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
    hand = _Hand([max(load, least) for load in loads], capacities, owner)
    hand.give_free()
    hand.even_out()
    return hand.now


class _Hand:
    """The partitions as they lie while they are dealt."""

    def __init__(self, sizes: Sequence[float], capacities: Sequence[float], owner: Sequence[int]) -> None:
        self._sizes, self._capacities = sizes, capacities
        #: Owner of each partition now.
        self.now = list(owner)
        #: Sizes and numbers of what each worker has, ascending.
        self._held: list[list[tuple[float, int]]] = [[] for _ in capacities]
        self._carried = [0.0] * len(capacities)
        for partition, place in enumerate(owner):
            if place >= 0:
                self._give(partition, place)

    def _give(self, partition: int, place: int) -> None:
        self.now[partition] = place
        insort(self._held[place], (self._sizes[partition], partition))
        self._carried[place] += self._sizes[partition]

    def _move(self, partition: int, here: int, there: int) -> None:
        held = self._held[here]
        del held[bisect_left(held, (self._sizes[partition], partition))]
        self._carried[here] -= self._sizes[partition]
        self._give(partition, there)

    def give_free(self) -> None:
        """What nobody has, largest first, to whom it makes least busy."""
        free = (p for p, place in enumerate(self.now) if place < 0)
        for partition in sorted(free, key=lambda p: (-self._sizes[p], p)):
            size = self._sizes[partition]
            busy = [(load + size) / capacity for load, capacity in self._loads()]
            self._give(partition, busy.index(min(busy)))

    def even_out(self) -> None:
        """From the busiest to the least busy, until all have about their part or nothing helps."""
        part = sum(self._sizes) / sum(self._capacities)
        # Each move makes the busier of two less busy; the bound is for rounding.
        for _ in range(4 * len(self._sizes)):
            if not self._relieved(part):
                return

    def _relieved(self, part: float) -> bool:
        """One move from the busiest whom it helps; `False` = all have about their part, or nothing helps."""
        busy = [load / capacity for load, capacity in self._loads()]
        taker = min(range(len(busy)), key=lambda w: (busy[w], w))
        # Who has one partition that is too much for anybody cannot be relieved; the others can.
        for giver in sorted(range(len(busy)), key=lambda w: (-busy[w], w)):
            if busy[giver] <= part * (1 + SLACK) and busy[taker] >= part * (1 - SLACK):
                return False
            given, taken = self._best(giver, taker)
            if given is None:
                continue
            self._move(given, giver, taker)
            if taken is not None:
                self._move(taken, taker, giver)
            return True
        return False

    def _best(self, giver: int, taker: int) -> tuple[int | None, int | None]:
        """What the giver hands over; where that alone does not help, also what it gets for it."""
        alone = self._least_busy(giver, taker, [(0.0, None)])
        return alone if alone[0] is not None else self._least_busy(giver, taker, self._held[taker])

    def _least_busy(
        self, giver: int, taker: int, returned: Sequence[tuple[float, int | None]]
    ) -> tuple[int | None, int | None]:
        """The exchange after which the busier of the two is least busy; nothing where none makes it less busy."""
        held, able = self._held[giver], self._capacities
        best = self._carried[giver] / able[giver] * (1 - _ROUNDING)
        found: tuple[int | None, int | None] = (None, None)
        if giver == taker:
            return found
        # Moving this much makes the two equally busy: the nearest sizes are the candidates.
        even = (self._carried[giver] * able[taker] - self._carried[taker] * able[giver]) / (able[giver] + able[taker])
        for back, taken in returned:
            at = bisect_left(held, (back + even, -1))
            for size, given in held[max(0, at - 1) : at + 1]:
                moved = size - back
                busier = max((self._carried[giver] - moved) / able[giver], (self._carried[taker] + moved) / able[taker])
                if moved > 0 and busier < best:
                    best, found = busier, (given, taken)
        return found

    def _loads(self) -> Iterator[tuple[float, float]]:
        return zip(self._carried, self._capacities, strict=True)
