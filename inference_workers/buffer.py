"""The bounded hand-off between Kafka and the model."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.records import ConsumedRecord


@dataclass(frozen=True, slots=True)
class Polled:
    """A record and the epoch of its partition at the time it was polled."""

    record: ConsumedRecord
    epoch: int


class RecordBuffer:
    """First in, first out, so that the order within a partition is kept.

    Putting never blocks: the poll thread must go on polling. Instead it asks `wants_more` and pauses its partitions;
    what one poll returned on top of a full buffer is bounded by `max_poll_records`.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._records: deque[Polled] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, records: Iterable[Polled]) -> None:
        """Add records in the order in which they were polled."""
        with self._changed:
            self._records.extend(records)
            self._changed.notify()

    def wants_more(self, *, paused: bool) -> bool:
        """Whether to fetch: stops at the capacity and goes on at half of it, so that pauses do not flicker."""
        held = len(self._records)
        return held < (self._capacity // 2 if paused else self._capacity)

    def get(self, timeout_s: float) -> Polled | None:
        """The oldest record, waiting up to `timeout_s`; `None` = none came, or the buffer is closed."""
        with self._changed:
            if not self._records and not self._closed and timeout_s > 0:
                self._changed.wait(timeout_s)
            return self._records.popleft() if self._records and not self._closed else None

    def close(self) -> None:
        """Give nothing out any more: what is left was not taken in hand and belongs to the next owner."""
        with self._changed:
            self._closed = True
            self._records.clear()
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._records)
