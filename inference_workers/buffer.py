"""The bounded hand-off between Kafka and the model."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.records import ConsumedRecord


@dataclass(slots=True)
class Chunk:
    """Consecutive records of one partition, polled together under one epoch of it."""

    partition: int
    epoch: int
    records: Sequence[ConsumedRecord]


class RecordBuffer:
    """First in, first out, so that the order within a partition is kept.

    Records go in and out by the handful: a lock for each would cost more than what is done with it. Putting never
    blocks: the poll thread must go on polling. Instead it asks `wants_more` and pauses its partitions; what one poll
    returned on top of a full buffer is bounded by `max_poll_records`.
    """

    def __init__(self, capacity: int, capacity_bytes: int) -> None:
        self._capacity, self._capacity_bytes = capacity, capacity_bytes
        self._bytes = 0
        self._chunks: deque[Chunk] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self._closed = False

    def put(self, chunks: Iterable[Chunk]) -> None:
        """Add records in the order in which they were polled."""
        with self._changed:
            for chunk in chunks:
                self._chunks.append(chunk)
                self._held += len(chunk.records)
                self._bytes += _bytes(chunk)
            self._changed.notify()

    def wants_more(self, *, paused: bool) -> bool:
        """Whether to fetch: stops at the capacity and goes on at half of it, so that pauses do not flicker."""
        share = 2 if paused else 1
        return self._held < self._capacity // share and self._bytes < self._capacity_bytes // share

    def get(self, most: int, timeout_s: float) -> list[Chunk]:
        """The oldest records, at most `most`, waiting up to `timeout_s` for the first; empty = none came, or closed."""
        with self._changed:
            if not self._chunks and not self._closed and timeout_s > 0:
                self._changed.wait(timeout_s)
            taken: list[Chunk] = []
            if self._closed:
                return taken
            while self._chunks and most > 0:
                chunk = self._chunks.popleft()
                if len(chunk.records) > most:
                    rest = Chunk(chunk.partition, chunk.epoch, chunk.records[most:])
                    self._chunks.appendleft(rest)
                    chunk = Chunk(chunk.partition, chunk.epoch, chunk.records[:most])
                taken.append(chunk)
                most -= len(chunk.records)
                self._held -= len(chunk.records)
                self._bytes -= _bytes(chunk)
            return taken

    def close(self) -> None:
        """Give nothing out any more: what is left was not taken in hand and belongs to the next owner."""
        with self._changed:
            self._closed = True
            self._chunks.clear()
            self._held = self._bytes = 0
            self._changed.notify_all()

    def __len__(self) -> int:
        return self._held


def _bytes(chunk: Chunk) -> int:
    return sum(len(record.value) for record in chunk.records if record.value)
