"""When a member that changed asks for another placement: seldom, and only where it is worth a rebalance.

A rebalance drains the partitions that move and reads some records twice; a placement that is a little off only costs
latency on its busiest member. So: not before the group has been calm for a while, at most once in a while, and only
where the busiest member's load would fall by a quarter.
"""

from __future__ import annotations

from streams.capacity import ALIKE

#: Seconds between looks: placing a thousand partitions anew takes milliseconds.
LOOK_S = 5.0
#: Seconds after a join in which nobody asks for the next: fits of a new worker settle, and others ask as well.
CALM_S = 30.0
#: Seconds between two requests of one member, whatever it measures.
AGAIN_S = 120.0


class PlacementReview:
    """Remembers when it was asked last. Times are of a monotonic clock, in seconds."""

    def __init__(self, now_s: float) -> None:
        self._looked_s = self._joined_s = now_s
        self._asked_s = float("-inf")

    def joined(self, now_s: float) -> None:
        """The group was placed anew, whoever asked for it."""
        self._joined_s = now_s

    def due(self, now_s: float) -> bool:
        """Whether to look now."""
        if now_s - self._looked_s < LOOK_S or now_s - self._joined_s < CALM_S or now_s - self._asked_s < AGAIN_S:
            return False
        self._looked_s = now_s
        return True

    def worth_it(self, relief: float, now_s: float) -> bool:
        """Whether to ask, given by what factor the busiest member's load would fall."""
        if relief < ALIKE:
            return False
        self._asked_s = now_s
        return True
