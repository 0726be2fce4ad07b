"""Reading one partition again from a moment on: how a restarted agent learns what it had known."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from kafka import TopicPartition
from kafka.partitioner.default import murmur2

from streams.errors import BrokerUnavailable
from streams.kafka.reader import new_reader
from streams.kafka.translate import translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from streams.kafka.settings import KafkaSettings

#: Milliseconds that one poll waits; an empty answer is followed by another until the end is reached or time is up.
_POLL_MS = 200


@dataclass(frozen=True, slots=True)
class TapeRecord:
    """One record of the partition."""

    offset: int
    #: When it was written, in milliseconds of Unix time.
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that producers write a key to: Kafka's murmur2 hash, positive part, modulo their number."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


class PartitionTape:
    """One partition, to be read from any place on. Close it, or use it in a `with`.

    Args:
        settings: Where to connect.
        topic: An existing topic.
        partition: One of its partitions, or a key: then the partition that producers write it to.

    Raises:
        TopicMissing: the topic does not exist.
        KafkaFailure: or one of its kinds.
    """

    def __init__(self, settings: KafkaSettings, topic: str, partition: int | bytes) -> None:
        self._topic = topic
        self._reader = new_reader(settings, [topic], client_id="penstock-tape")
        try:
            with self._translated():
                count = len(self._reader.partitions_for_topic(topic) or ())
                self.partition = partition_of(partition, count) if isinstance(partition, bytes) else partition
                self._place = TopicPartition(topic, self.partition)
                self._reader.assign([self._place])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._reader.close(autocommit=False)

    def bounds(self) -> tuple[int, int]:
        """Offset of the first record that is kept, and the next one to be written."""
        with self._translated():
            first = self._reader.beginning_offsets([self._place])[self._place]
            return int(first), int(self._reader.end_offsets([self._place])[self._place])

    def offset_at(self, at_s: float) -> int | None:
        """Offset of the first record whose timestamp is not before a time (Unix seconds); `None` = there is none."""
        with self._translated():
            found = self._reader.offsets_for_times({self._place: max(0, int(at_s * 1000))}).get(self._place)
            return None if found is None else int(found.offset)

    def read(self, start: int, stop: int, *, patience_s: float) -> Iterator[list[TapeRecord]]:
        """Records from one offset up to before another, in order, in portions as they come.

        Args:
            start: First offset.
            stop: The offset to stop before; what lies there exists already.
            patience_s: Seconds that nothing may come.

        Raises:
            BrokerUnavailable: nothing came for so long.
            KafkaFailure: or another of its kinds.
        """
        with self._translated():
            self._reader.seek(self._place, start)
            heard_s, at = time.monotonic(), start
            while at < stop:
                found = [r for records in self._reader.poll(timeout_ms=_POLL_MS).values() for r in records]
                now_s, at = time.monotonic(), self._reader.position(self._place)
                heard_s = now_s if found else heard_s
                if now_s - heard_s > patience_s:
                    raise BrokerUnavailable(
                        f"{self._topic} partition {self.partition} could not be read up to offset {stop}: nothing came "
                        f"for {patience_s:g} s; check that its leader is up"
                    )
                yield [TapeRecord(r.offset, r.timestamp, r.key, r.value) for r in found if r.offset < stop]

    def _translated(self) -> AbstractContextManager[None]:
        return translated(f"read {self._topic} again")


def read_since(
    settings: KafkaSettings, topic: str, partition: int, *, since_s: float, until_offset: int, timeout_s: float
) -> list[TapeRecord]:
    """Records of one partition written since a moment, up to an offset, in order.

    Args:
        settings: Where to connect.
        topic: An existing topic.
        partition: One of its partitions.
        since_s: Unix seconds by the records' timestamps.
        until_offset: The offset to stop before; what lies there exists already.
        timeout_s: Seconds for all of it.

    Raises:
        BrokerUnavailable: the end was not reached in time.
        KafkaFailure: or one of its kinds.
    """
    deadline = time.monotonic() + timeout_s
    found: list[TapeRecord] = []
    with PartitionTape(settings, topic, partition) as tape:
        start = tape.offset_at(since_s)
        if start is None:
            return []
        for portion in tape.read(start, until_offset, patience_s=timeout_s):
            found += portion
            if time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"{topic} partition {partition} could not be read again up to offset {until_offset} within "
                    f"{timeout_s:g} s; check that its leader is up"
                )
    return found
