"""The arithmetic of Flink's autoscaler for a single source vertex: capacity, bounds, alignment, delayed scale-in.

Written anew from its published behaviour (flink-kubernetes-operator, module flink-autoscaler; after DS2: V. Kalavri et
al., "Three steps is all you need", OSDI 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Ways to fit a count of subtasks to the partitions.
ALIGNMENTS = ("balanced", "evenly-spread", "off")


def target_capacity(
    rate_per_s: float, utilisation: float, *, catch_up_per_s: float, restart_s: float, catch_up_s: float
) -> float:
    """Records a second that the job must be able to do, rounded as the original rounds.

    What comes in at the wanted utilisation, plus the lag and what a restart leaves, both worked off within the catch-up
    time.

    Args:
        rate_per_s: Arrivals.
        utilisation: 0 (hence infinite) to 1; taken into that range.
        catch_up_per_s: Lag over catch-up time.
        restart_s: Seconds that a restart takes; 0 = not counted.
        catch_up_s: 0 = neither lag nor restart count.
    """
    part = min(1.0, max(0.0, utilisation))
    if part == 0:
        return math.inf
    restart_per_s = rate_per_s * restart_s / catch_up_s if catch_up_s > 0 else 0.0
    return float(math.floor(catch_up_per_s + restart_per_s + rate_per_s / part + 0.5))


def parallelism(current: int, factor: float, partitions: int, *, least: int, most: int, alignment: str) -> int:
    """Subtasks for a scale factor, within bounds and fitted to the partitions.

    Args:
        current: Subtasks now, >= 1.
        factor: Wanted capacity over present capacity.
        partitions: Of the source; more subtasks are idle.
        least: Fewest.
        most: Most.
        alignment: One of `ALIGNMENTS`.
    """
    top = min(most, partitions)
    target = max(min(least, top), min(math.ceil(min(factor * current, float(top)) - 1e-9), top))
    return aligned(current, target, partitions, most, alignment)


def aligned(current: int, target: int, partitions: int, most: int, alignment: str) -> int:
    """The first count from `target` up that fits the partitions; `target` where none does.

    Looked for up to the bound when the job grows, and up to `current` when it shrinks. `balanced` takes a divisor or
    the first count that relieves every subtask of a partition, `evenly-spread` divisors only.
    """
    if alignment == "off":
        return target
    top = min(partitions, most)
    end = top if target > current else min(current, top)
    for count in range(target, end + 1):
        if partitions % count == 0:
            return count
        if alignment == "balanced" and partitions // count < partitions // target:
            return count
    return target


@dataclass(frozen=True, slots=True)
class Recommended:
    """One smaller count that was asked for."""

    at_s: float
    workers: int
    #: Whether the capacity was outside its bounds then.
    outside: bool


@dataclass(frozen=True, slots=True)
class DelayedScaleIn:
    """Smaller counts asked for since the first one; those that may still be the highest of a window, descending."""

    first_at_s: float | None = None
    entries: tuple[Recommended, ...] = ()

    def add(self, at_s: float, workers: int, outside: bool) -> DelayedScaleIn:
        """With one more; the first time stays."""
        kept = tuple(one for one in self.entries if one.workers > workers)
        first_at_s = at_s if self.first_at_s is None else self.first_at_s
        return DelayedScaleIn(first_at_s, (*kept, Recommended(at_s, workers, outside)))

    def highest(self, since_s: float) -> Recommended:
        """The highest since then.

        Raises:
            IndexError: none was asked for since then.
        """
        return [one for one in self.entries if one.at_s >= since_s][0]  # noqa: RUF015 - an IndexError is documented
