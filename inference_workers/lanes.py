"""The two lanes of a pipeline: urgent requests, and bulk that is served with what they leave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inference_workers.transports import CommitBox

if TYPE_CHECKING:
    from inference_workers.buffer import RecordBuffer
    from inference_workers.ownership import Ownership
    from inference_workers.ready import ReadyQueue

#: Longest that a batch of bulk alone may hold the device, as a share of the objective: an urgent request that comes the
#: moment after it has begun waits for all of it.
MOST_HOLD = 0.1


@dataclass(frozen=True, slots=True)
class Lane:
    """One topic's way to the device: a group and a consumer of its own, and the same threads' steps."""

    topic: str
    group: str
    ownership: Ownership
    buffer: RecordBuffer
    ready: ReadyQueue
    #: Where the topic's consumer finds what the deliver thread wants committed (at-least-once only).
    commits: CommitBox = field(default_factory=CommitBox)

    @property
    def waiting(self) -> int:
        """Records between Kafka and the device."""
        return len(self.buffer) + len(self.ready)


@dataclass(slots=True)
class BulkShare:
    """What bulk is owed: at least a stated share of the rows, however many urgent requests there are.

    Deficit accounting (after Shreedhar and Varghese's deficit round robin, 1995): each urgent row served while bulk
    waits earns bulk `share / (1 - share)` rows; each bulk row served beside urgent ones spends one. Pad slots come
    first and cost urgent requests nothing, so with them the debt is often paid before it must be.
    """

    #: Of all rows, 0 to below 1.
    share: float
    _owed: float = field(default=0.0)

    def reserved(self, most_rows: int) -> int:
        """Rows of the next batch to be kept for bulk: never more than half."""
        return min(int(self._owed), most_rows // 2)

    def served(self, urgent: int, bulk: int, most_rows: int) -> None:
        """A batch was run while bulk waited."""
        earned = urgent * self.share / (1 - self.share)
        # What is owed is bounded, so that a long surge is not followed by a batch of bulk after another.
        self._owed = min(max(self._owed + earned - bulk, 0.0), float(most_rows))
