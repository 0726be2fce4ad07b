"""The three requests of a transaction, and their answers, as bytes (see `streams.kafka.frames`).

Source of the layouts: Apache Kafka, `ProduceRequest.json`, `TxnOffsetCommitRequest.json`, `EndTxnRequest.json` and the
answers beside them, at the versions named here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from streams.kafka.frames import NO_TAGS, Frame, read_text, read_unsigned, skip_tags, text, unsigned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PRODUCE, PRODUCE_VERSION = 0, 12
END, END_VERSION = 26, 5
OFFSETS, OFFSETS_VERSION = 28, 5

_ALL_IN_SYNC = -1
#: Acknowledgements and time-out; partition; the last two of an end.
_ACKS, _INT, _PRODUCER = struct.Struct(">hi"), struct.Struct(">i"), struct.Struct(">qh")
#: Partition, next offset, leader epoch (not said); then the metadata (none, not null) and no tags.
_OFFSET = struct.Struct(">iqi")
_NO_METADATA = b"\x01"
#: Partition and error; offset, append time and log start follow.
_RESULT, _RESULT_REST = struct.Struct(">ih"), 24
_END_ANSWER = struct.Struct(">ihqh")


class Sealed(NamedTuple):
    """A batch of records as the broker takes it, and where it goes."""

    topic: str
    partition: int
    raw: bytes


class Ended(NamedTuple):
    """What came of an end."""

    error_code: int
    producer_id: int
    producer_epoch: int


@dataclass(frozen=True, slots=True)
class Member:
    """A membership in a group, as an offset commit names it."""

    group_id: str
    generation_id: int
    member_id: str
    group_instance_id: str | None


def produce(transactional_id: str | None, batches: Sequence[Sealed], timeout_ms: int) -> Frame:
    """Records, of a transaction or of none, acknowledged by all replicas in sync; at most one batch a partition."""
    by_topic: dict[str, list[bytes]] = {}
    for topic, partition, raw in batches:
        parts = by_topic.setdefault(topic, [])
        parts += (_INT.pack(partition), unsigned(len(raw) + 1), raw, NO_TAGS)
    body = [text(transactional_id), _ACKS.pack(_ALL_IN_SYNC, timeout_ms), unsigned(len(by_topic) + 1)]
    for topic, parts in by_topic.items():
        body += (text(topic), unsigned(len(parts) // 4 + 1), *parts, NO_TAGS)
    body.append(NO_TAGS)
    return Frame(PRODUCE, PRODUCE_VERSION, b"".join(body))


def produced(data: memoryview, at: int) -> list[tuple[str, int, int]]:
    """Topic, partition and error code of each batch, from the answer's body that begins at `at`."""
    found = []
    topics, at = read_unsigned(data, at)
    for _ in range(topics - 1):
        topic, at = read_text(data, at)
        partitions, at = read_unsigned(data, at)
        for _ in range(partitions - 1):
            partition, code = _RESULT.unpack_from(data, at)
            found.append((topic or "", partition, code))
            at = _skip_reasons(data, at + _RESULT.size + _RESULT_REST)
        at = skip_tags(data, at)
    return found


def _skip_reasons(data: memoryview, at: int) -> int:
    """Where the words about single records, and about the batch, end."""
    errors, at = read_unsigned(data, at)
    for _ in range(errors - 1):
        _, at = read_text(data, at + _INT.size)
        at = skip_tags(data, at)
    _, at = read_text(data, at)
    return skip_tags(data, at)


def offsets(
    transactional_id: str,
    producer_id: int,
    epoch: int,
    member: Member,
    *,
    topic: str,
    next_offsets: Mapping[int, int],
) -> Frame:
    """Offsets that are committed with the transaction.

    The membership is named, so that the broker refuses a member that the group has moved on from (KIP-447).
    """
    parts = [_OFFSET.pack(partition, offset, -1) + _NO_METADATA + NO_TAGS for partition, offset in next_offsets.items()]
    body = [
        text(transactional_id),
        text(member.group_id),
        _PRODUCER.pack(producer_id, epoch),
        _INT.pack(member.generation_id),
        text(member.member_id),
        text(member.group_instance_id),
        b"\x02",
        text(topic),
        unsigned(len(parts) + 1),
        *parts,
        NO_TAGS,
        NO_TAGS,
    ]
    return Frame(OFFSETS, OFFSETS_VERSION, b"".join(body))


def offsets_errors(data: memoryview, at: int) -> set[int]:
    """The error codes of all partitions, 0 among them, from the answer's body that begins at `at`."""
    codes: set[int] = set()
    topics, at = read_unsigned(data, at + _INT.size)
    for _ in range(topics - 1):
        _, at = read_text(data, at)
        partitions, at = read_unsigned(data, at)
        for _ in range(partitions - 1):
            codes.add(_RESULT.unpack_from(data, at)[1])
            at = skip_tags(data, at + _RESULT.size)
        at = skip_tags(data, at)
    return codes


def end(transactional_id: str, producer_id: int, epoch: int, *, committed: bool) -> Frame:
    """The end of a transaction."""
    body = text(transactional_id) + _PRODUCER.pack(producer_id, epoch) + (b"\x01" if committed else b"\x00") + NO_TAGS
    return Frame(END, END_VERSION, body)


def ended(data: memoryview, at: int) -> Ended:
    """What came of it, from the answer's body that begins at `at`; with the producer's next epoch."""
    _, code, producer_id, epoch = _END_ANSWER.unpack_from(data, at)
    return Ended(code, producer_id, epoch)
