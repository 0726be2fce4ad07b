"""Which dead letters were replayed: marks among the letters themselves, written in the transaction of the replay.

A mark is a record in the partition of the letters that it is about, behind them. So a letter and the word that it was
replayed are kept, read and deleted together, any filter in any order finds what others have replayed, and a replay that
was killed in the middle resumes right: its last transaction wrote both the requests and the mark, or neither.
"""

from __future__ import annotations

import bisect
import json
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams import headers as names
from streams.record_types import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.record_types import ConsumedRecord

log = logging.getLogger(__name__)

#: First offset, and the one behind the last.
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Mark:
    """These letters of one partition were written to `target`."""

    #: The topic that the requests went to.
    target: str
    #: Name of the replay, its own.
    run: str
    ranges: tuple[Range, ...]


def ranges_of(offsets: Iterable[int]) -> tuple[Range, ...]:
    """Rising offsets as the fewest ranges."""
    found: list[Range] = []
    for offset in offsets:
        if found and found[-1][1] == offset:
            found[-1] = (found[-1][0], offset + 1)
        else:
            found.append((offset, offset + 1))
    return tuple(found)


def mark(topic: str, partition: int, offsets: Iterable[int], *, target: str, run: str) -> Outgoing:
    """The record that says of letters that they were replayed.

    Args:
        topic: the topic of the letters.
        partition: theirs.
        offsets: of the letters, rising.
        target: the topic that their requests go to.
        run: the replay's name.
    """
    said = {"replayed": ranges_of(offsets), "to": target, "run": run}
    value = json.dumps(said, separators=(",", ":")).encode()
    return Outgoing(topic, None, value, [(names.DLQ_REPLAYED, run.encode())], partition)


def read_mark(record: ConsumedRecord) -> Mark | None:
    """The mark that a record is; `None` = it is none, or one that cannot be read (which is logged)."""
    if names.header(record.headers, names.DLQ_REPLAYED) is None:
        return None
    try:
        said = json.loads(record.value or b"")
        ranges = tuple((int(first), int(behind)) for first, behind in said["replayed"])
        found = Mark(str(said["to"]), str(said["run"]), ranges)
        # A mark speaks of what lies before it; what it says of the future is wrong.
        if not all(0 <= first < behind <= record.offset for first, behind in ranges):
            raise ValueError("a range is empty or not before the mark")  # noqa: TRY301 - handled as all the rest
    except (ValueError, TypeError, KeyError) as error:
        place = f"{record.topic}/{record.partition}/{record.offset}"
        log.warning("dead_letters.unreadable_mark", extra={"source": place, "error": str(error)})
        return None
    return found


class Replayed:
    """What all marks together say. Memory grows with the gaps between replayed letters, not with their number."""

    def __init__(self) -> None:
        #: Disjoint ranges by target and partition, in order.
        self._ranges: dict[tuple[str, int], list[Range]] = {}
        self._by_run: Counter[str] = Counter()

    def add(self, partition: int, told: Mark) -> None:
        """Take in one mark of a partition."""
        ranges = self._ranges.setdefault((told.target, partition), [])
        for first, behind in told.ranges:
            self._by_run[told.run] += behind - first
            _insert(ranges, first, behind)

    def has(self, target: str, partition: int, offset: int) -> bool:
        """Whether a letter was replayed to a topic."""
        ranges = self._ranges.get((target, partition), ())
        at = bisect.bisect_right(ranges, (offset, float("inf"))) - 1
        return at >= 0 and offset < ranges[at][1]

    def targets(self, partition: int, offset: int) -> tuple[str, ...]:
        """The topics that a letter was replayed to."""
        return tuple(
            sorted(
                target for target, number in self._ranges if number == partition and self.has(target, partition, offset)
            )
        )

    def by(self, run: str) -> int:
        """How many letters one replay has done."""
        return self._by_run[run]


def _insert(ranges: list[Range], first: int, behind: int) -> None:
    """Add a range to disjoint ones in order, joining those that it touches."""
    low = bisect.bisect_left(ranges, first, key=lambda one: one[1])
    high = bisect.bisect_right(ranges, behind, key=lambda one: one[0])
    if low < high:
        first, behind = min(first, ranges[low][0]), max(behind, ranges[high - 1][1])
    ranges[low:high] = [(first, behind)]
