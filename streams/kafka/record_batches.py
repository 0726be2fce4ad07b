"""Kafka's record format v2, written many records at a time.

kafka-python encodes a record at a time, with a future each: 40 to 90 us for a result with ten headers, several times
what the model takes. Here a whole transaction is encoded at once. What repeats (names, small numbers) is made once.

Source of the layout: Apache Kafka, "Message Format", section "Record Batch".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafka.record.util import calc_crc32c

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from streams.records import Outgoing, SharedHeaders

#: Base offset, length, leader epoch, magic; then the checksum of all that follows it.
_HEAD = struct.Struct(">qiibI")
#: Attributes, last offset delta, base and max timestamp, producer id and epoch, base sequence, record count.
_BODY = struct.Struct(">hiqqqhii")
#: What a producer writes for "the broker knows": the epoch of the partition's leader.
_NO_LEADER_EPOCH = -1
_MAGIC = 2
_TRANSACTIONAL = 0x10
#: Bytes of `_HEAD` that the length field does not count: the base offset and the length itself.
_BEFORE_LENGTH_ENDS = 12

_NULL = b"\x01"
#: Attributes of a record (none are defined), and no time after the first one.
_AT_BASE = b"\x00\x00"
#: Header names remembered; ours are a dozen, and strangers' come in through dead letters.
_NAMES_REMEMBERED = 1024


def varint(value: int) -> bytes:
    """A signed number in zigzag base-128, as record fields have it (at most 64 bits)."""
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_SMALL = tuple(varint(value) for value in range(8192))
_LONG = len(_SMALL)
_names: dict[str, bytes] = {}


@dataclass(frozen=True, slots=True)
class Codec:
    """A compression."""

    #: As the attributes of a batch name it; 0 = none.
    number: int
    compress: Callable[[bytes], bytes]


@dataclass(slots=True)
class Batch:
    """Records of one partition, encoded but for what a producer adds last."""

    topic: str
    partition: int
    body: bytes
    count: int
    base_timestamp: int
    max_timestamp: int
    #: Index of its first record among those it was made of.
    first: int

    def sealed(self, *, producer_id: int, epoch: int, sequence: int, codec: Codec, transactional: bool = True) -> bytes:
        """The batch as the broker takes it.

        Args:
            producer_id: who writes.
            epoch: of the producer.
            sequence: number of the first record in this partition and epoch.
            codec: how the body is compressed.
            transactional: whether it is part of a transaction.

        """
        body = codec.compress(self.body) if codec.number else self.body
        rest = _BODY.pack(
            (_TRANSACTIONAL if transactional else 0) | codec.number,
            self.count - 1,
            self.base_timestamp,
            self.max_timestamp,
            producer_id,
            epoch,
            sequence,
            self.count,
        )
        summed = rest + body
        length = _HEAD.size + len(summed) - _BEFORE_LENGTH_ENDS
        return _HEAD.pack(0, length, _NO_LEADER_EPOCH, _MAGIC, calc_crc32c(summed)) + summed


def encode(records: Sequence[Outgoing], partitions: Sequence[int], *, now_ms: int, most_bytes: int) -> Iterator[Batch]:
    """Batches of at most `most_bytes` a partition, records in order; a longer record is a batch of its own.

    Args:
        records: what to write.
        partitions: where each goes.
        now_ms: the timestamp of records that have none, in Unix milliseconds.
        most_bytes: where a batch ends, its head not counted.

    """
    by_partition: dict[tuple[str, int], list[int]] = {}
    for index, (record, partition) in enumerate(zip(records, partitions, strict=True)):
        by_partition.setdefault((record.topic, partition), []).append(index)
    encoder = _Encoder(now_ms, most_bytes)
    for (topic, partition), indices in by_partition.items():
        rest = indices
        while rest:
            body, count, base, latest = encoder.body(records, rest)
            yield Batch(topic, partition, body, count, base, latest, rest[0])
            rest = rest[count:]


class _Encoder:
    """Encodes the records of one transaction; what they share is encoded once."""

    def __init__(self, now_ms: int, most_bytes: int) -> None:
        self._now_ms, self._most_bytes = now_ms, most_bytes
        self._tails: dict[SharedHeaders, bytes] = {}

    def body(self, records: Sequence[Outgoing], indices: Sequence[int]) -> tuple[bytes, int, int, int]:
        """As many of the records as fit, at least one.

        Returns:
            the encoded records, how many, and their first and latest timestamp.

        """
        small, long, known, join = _SMALL, _LONG, _names, b"".join
        now_ms, tails, most_bytes = self._now_ms, self._tails, self._most_bytes
        base = latest = self._stamp(records[indices[0]])
        out: list[bytes] = []
        size = count = 0
        # One loop without a call for each field: a transaction has thousands of records with a dozen fields each.
        for index in indices:
            record = records[index]
            stamp = now_ms if record.timestamp_ms is None else record.timestamp_ms
            key, value, headers, shared = record.key, record.value, record.headers, record.shared
            number = len(headers) if shared is None else len(headers) + len(shared.pairs)
            # Attributes, timestamp delta, offset delta, key, value, number of headers; then the headers.
            parts = [
                _AT_BASE if stamp == base else b"\x00" + varint(stamp - base),
                small[count] if count < long else varint(count),
                _NULL if key is None else small[len(key)] if len(key) < long else varint(len(key)),
                key or b"",
                _NULL if value is None else small[len(value)] if len(value) < long else varint(len(value)),
                value or b"",
                small[number] if number < long else varint(number),
            ]
            for name, content in headers:
                length = len(content)
                parts += (known.get(name) or _name(name), small[length] if length < long else varint(length), content)
            if shared is not None:
                parts.append(tails.get(shared) or self._tail(shared))
            encoded = join(parts)
            length = len(encoded)
            prefix = small[length] if length < long else varint(length)
            if count and size + length + len(prefix) > most_bytes:
                break
            out += (prefix, encoded)
            size += length + len(prefix)
            count += 1
            latest = max(latest, stamp)
        return join(out), count, base, latest

    def _stamp(self, record: Outgoing) -> int:
        return self._now_ms if record.timestamp_ms is None else record.timestamp_ms

    def _tail(self, shared: SharedHeaders) -> bytes:
        encoded = b"".join(_name(name) + varint(len(value)) + value for name, value in shared.pairs)
        self._tails[shared] = encoded
        return encoded


def _name(name: str) -> bytes:
    raw = name.encode()
    if len(_names) >= _NAMES_REMEMBERED:
        _names.clear()
    encoded = _names[name] = varint(len(raw)) + raw
    return encoded
