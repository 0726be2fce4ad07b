"""What limits a fleet whatever the load: the worker type, the number of partitions, and a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoscaler.model import Control, WorkerType


@dataclass(frozen=True, slots=True)
class Bounds:
    """Fewest and most workers, and who said so (a `Decision.bound`)."""

    low: int
    low_by: str
    high: int
    high_by: str

    def clamp(self, workers: int) -> tuple[int, str | None]:
        """The nearest allowed count, and the bound that changed it; `None` = nothing did."""
        if workers > self.high:
            return self.high, self.high_by
        if workers < self.low:
            return self.low, self.low_by
        return workers, None


def bounds(kind: WorkerType, partitions: int, control: Control | None) -> Bounds:
    """The tightest bounds. A person may narrow what the settings allow, not widen it.

    Where bounds contradict each other the lower count wins: a cost limit is a limit.

    Args:
        kind: With its own min and max.
        partitions: Of the requests topic: more workers than partitions are idle; 0 = not known, no bound.
        control: What a person asked for; `None` = nothing.
    """
    high, high_by = kind.max_workers, "max"
    if control and control.max_workers is not None and control.max_workers < high:
        high, high_by = max(0, control.max_workers), "control"
    if 0 < partitions < high:
        high, high_by = partitions, "partitions"
    low, low_by = kind.min_workers, "min"
    if control and control.min_workers is not None and control.min_workers > low:
        low, low_by = control.min_workers, "control"
    if low > high:
        low, low_by = high, high_by
    return Bounds(low, low_by, high, high_by)
