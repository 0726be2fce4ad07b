"""Reading one partition again from a moment on: how a restarted agent learns what it had known."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafka import TopicPartition
from kafka.partitioner.default import murmur2

from streams.errors import BrokerUnavailable
from streams.kafka.reader import new_reader
from streams.kafka.translate import translated

if TYPE_CHECKING:
    from streams.kafka.settings import KafkaSettings

#: Milliseconds that one poll waits; an empty answer is followed by another until the end is reached or time is up.
_POLL_MS = 200


@dataclass(frozen=True, slots=True)
class TapeRecord:
    """One record of the partition."""

    offset: int
    key: bytes | None
    value: bytes | None


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that producers write a key to: Kafka's murmur2 hash, positive part, modulo their number."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


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
    place = TopicPartition(topic, partition)
    deadline = time.monotonic() + timeout_s
    reader = new_reader(settings, [topic], client_id="penstock-tape")
    found: list[TapeRecord] = []
    try:
        with translated(f"read {topic} again"):
            reader.assign([place])
            start = reader.offsets_for_times({place: int(since_s * 1000)}).get(place)
            if start is None:
                return []
            reader.seek(place, start.offset)
            while reader.position(place) < until_offset:
                if time.monotonic() > deadline:
                    raise BrokerUnavailable(
                        f"{topic} partition {partition} could not be read again up to offset {until_offset} within "
                        f"{timeout_s:g} s; check that its leader is up"
                    )
                for records in reader.poll(timeout_ms=_POLL_MS).values():
                    found.extend(TapeRecord(r.offset, r.key, r.value) for r in records)
    finally:
        reader.close(autocommit=False)
    return [record for record in found if record.offset < until_offset]
