"""Where a pipeline's topics stand, once a tick: counted by offsets, so the cost does not grow with the request rate."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol

from autoscaler.model import ArrivalSample
from streams import topics
from streams.errors import KafkaFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from autoscaler.model import Control, FleetStatus

log = logging.getLogger(__name__)

#: Seconds between two looks at the start offsets of partitions without a commit: retention moves them slowly.
_STARTS_EVERY_S = 30.0


class Offsets(Protocol):
    """What of `streams.kafka.Admin` is needed."""

    def end_offsets(self, topic: str) -> dict[int, int]:
        """The next offset to be written, by partition."""

    def led_end_offsets(self, topic: str) -> dict[int, int]:
        """Likewise, of the partitions that have a leader."""

    def start_offsets(self, topic: str) -> dict[int, int]:
        """The first offset still kept, by partition."""

    def committed(self, group: str, topic: str) -> dict[int, int | None]:
        """The next offset to be answered, by partition; `None` = never committed."""


class ArrivalSampler:
    """Samples one pipeline: one request to each broker for the ends, one to the group's coordinator for the commits.

    Args:
        admin: Where offsets are read.
        pipeline: Its name.
        clock: Unix seconds.
    """

    def __init__(self, admin: Offsets, pipeline: str, clock: Callable[[], float] = time.time) -> None:
        self._admin = admin
        self._pipeline = pipeline
        self._topic = topics.requests(pipeline)
        self._group = topics.group(pipeline)
        self._clock = clock
        self._starts: Mapping[int, int] = {}
        self._starts_until_s = float("-inf")
        #: As last read, and whether some partition had no leader then.
        self._ends: Mapping[int, int] = {}
        self._leaderless = False

    def sample(self, fleet: FleetStatus | None = None, control: Control | None = None) -> ArrivalSample:
        """Where the pipeline stands now, with what is known beside it.

        Commits are read before the ends: what is answered in between makes the backlog look larger, never negative.

        Raises:
            KafkaFailure: or one of its kinds.
        """
        committed = self._admin.committed(self._group, self._topic)
        at_s = self._clock()
        ends = self._ends = self._all_ends(committed)
        if None in committed.values():
            committed = self._from_starts(committed, at_s)
        return ArrivalSample(
            pipeline=self._pipeline, at_s=at_s, end_offsets=ends, committed=committed, fleet=fleet, control=control
        )

    def _all_ends(self, committed: Mapping[int, int | None]) -> dict[int, int]:
        """The ends; where a partition has no leader, and nobody can write to it, as they were before."""
        found: dict[int, int] = {}
        if not self._leaderless:
            try:
                return self._admin.end_offsets(self._topic)
            except KafkaFailure as error:
                if not error.retriable:
                    raise
                found = self._admin.led_end_offsets(self._topic)
                lost = sorted(committed.keys() - found.keys())
                if not lost or not found or any(self._least_end(one, committed) is None for one in lost):
                    raise
                log.warning("arrivals.leaderless", extra={"pipeline": self._pipeline, "partitions": lost[:20]})
        found = found or self._admin.led_end_offsets(self._topic)
        lost = sorted(committed.keys() - found.keys())
        self._leaderless = bool(lost)
        return {**{one: self._least_end(one, committed) or 0 for one in lost}, **found}

    def _least_end(self, partition: int, committed: Mapping[int, int | None]) -> int | None:
        """Its end as last read; before the first look at it, what is committed there, the least that it can be.

        A guess of 0 would make all that it holds look like arrivals when it is led again.
        """
        return self._ends.get(partition, committed[partition])

    def _from_starts(self, committed: Mapping[int, int | None], at_s: float) -> dict[int, int | None]:
        """A group without a commit begins at the first record still kept: what retention has removed is no backlog."""
        # A partition without a leader would fail this question for all of them; old starts do for a while.
        if not self._leaderless and not 0 <= self._starts_until_s - at_s <= _STARTS_EVERY_S:
            self._starts = self._admin.start_offsets(self._topic)
            self._starts_until_s = at_s + _STARTS_EVERY_S
        return {
            partition: (self._starts.get(partition) or None) if offset is None else offset
            for partition, offset in committed.items()
        }
