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
    from collections.abc import Collection, Iterable


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

    def stamp(self, partition: int, offset: int) -> int | None:
        """Epoch for a record just polled; `None` = not ours, or polled before in this epoch."""
        with self._lock:
            epoch = self._epochs.get(partition)
            if epoch is None or offset < self._next_offset.get(partition, 0):
                return None
            self._next_offset[partition] = offset + 1
            return epoch

    def take(self, partition: int, epoch: int) -> bool:
        """Take one record in hand; `False` = it is no longer ours to answer."""
        with self._lock:
            if self._epochs.get(partition) != epoch or partition in self._revoking:
                return False
            self._in_hand[partition] += 1
            return True

    def settle(self, partitions: Iterable[int]) -> None:
        """Records of these partitions (one entry a record) are out of hand: committed, or given up."""
        with self._lock:
            self._in_hand.subtract(partitions)

    def owns(self, partition: int, epoch: int) -> bool:
        """Whether the stamp is still good. A partition being revoked is: its batch in hand may yet be committed."""
        with self._lock:
            return self._epochs.get(partition) == epoch

    @property
    def partitions(self) -> tuple[int, ...]:
        """What is owned now, in order."""
        with self._lock:
            return tuple(sorted(self._epochs))

    @property
    def rebalances(self) -> int:
        """How often partitions came or went."""
        return self._rebalances
