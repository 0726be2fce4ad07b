"""Which partitions are this worker's, and what of them is in hand. Shared by its three threads.

Each assignment of a partition gets a number, its epoch. A record is stamped with it when polled; once the partition
was taken away, even if it came back, the stamp is stale and the record is not answered here: whoever owns the partition
reads it again from the committed offset.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from streams.records import ConsumedRecord


class Ownership:
    """Partitions owned, being revoked, and in hand. Thread-safe; no method blocks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epochs: dict[int, int] = {}
        self._next_offset: dict[int, int] = {}
        self._revoking: set[int] = set()
        self._in_hand: Counter[int] = Counter()
        self._numbers = itertools.count(1)
        self._rebalances = 0
        #: Set at the first assignment, even an empty one would do: the group knows us.
        self.joined = threading.Event()

    # --- told by the client's I/O thread (streams.kafka.group_consumer.RebalanceHooks)

    def assigned(self, partitions: Collection[int]) -> None:
        """These are ours from now on."""
        with self._lock:
            for partition in partitions:
                self._epochs[partition] = next(self._numbers)
                self._next_offset.pop(partition, None)
                self._revoking.discard(partition)
            self._rebalances += 1
        self.joined.set()

    def revoking(self, partitions: Collection[int]) -> None:
        """Take nothing more of these."""
        with self._lock:
            self._revoking.update(partitions)

    def drained(self, partitions: Collection[int]) -> bool:
        """Whether nothing of these is in hand."""
        with self._lock:
            return not any(self._in_hand[partition] for partition in partitions)

    def revoked(self, partitions: Collection[int]) -> None:
        """These are ours no longer."""
        with self._lock:
            for partition in partitions:
                self._epochs.pop(partition, None)
                self._revoking.discard(partition)
            self._rebalances += 1

    # --- asked by poll, execute and deliver

    def stamp(self, partition: int, records: Sequence[ConsumedRecord]) -> tuple[int, Sequence[ConsumedRecord]] | None:
        """Epoch for records just polled of one partition, less those polled before in this epoch; `None` = not ours."""
        with self._lock:
            epoch = self._epochs.get(partition)
            if epoch is None:
                return None
            expected = self._next_offset.get(partition, 0)
            if records[0].offset < expected:
                records = [record for record in records if record.offset >= expected]
                if not records:
                    return None
            self._next_offset[partition] = records[-1].offset + 1
            return epoch, records

    def take(self, partition: int, epoch: int, count: int) -> bool:
        """Take `count` records in hand; `False` = they are no longer ours to answer."""
        with self._lock:
            if self._epochs.get(partition) != epoch or partition in self._revoking:
                return False
            self._in_hand[partition] += count
            return True

    def settle(self, partitions: Iterable[int]) -> None:
        """Records of these partitions (one entry a record) are out of hand: committed, or given up."""
        with self._lock:
            # Counted first, which is not done in Python.
            self._in_hand.subtract(Counter(partitions))

    def owned(self, places: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
        """Those of some (partition, epoch) whose stamp is still good.

        A partition being revoked is still owned: its batch in hand may yet be committed.
        """
        with self._lock:
            return {place for place in places if self._epochs.get(place[0]) == place[1]}

    @property
    def partitions(self) -> tuple[int, ...]:
        """What is owned now, in order."""
        with self._lock:
            return tuple(sorted(self._epochs))

    @property
    def rebalances(self) -> int:
        """How often partitions came or went."""
        return self._rebalances
