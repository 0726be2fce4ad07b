"""Fetches and their answers as bytes (see `streams.kafka.frames`).

Source of the layouts: Apache Kafka, `FetchRequest.json` and `FetchResponse.json`, at the version named here: the last
that names topics rather than their ids.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from streams.kafka.frames import NO_TAGS, Frame, read_text, read_unsigned, skip_tags, text, unsigned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kafka.structs import TopicPartition

FETCH, FETCH_VERSION = 1, 12

#: Replica (none: a consumer), longest wait, least and most bytes, isolation, session and its epoch.
_START = struct.Struct(">iiiibii")
_CONSUMER = -1
#: Partition, its leader's epoch, offset, epoch of the record before it, start of the log (not said), most bytes.
_PLACE = struct.Struct(">iiqiqi")
_INT = struct.Struct(">i")
#: Throttle time, error, session.
_ANSWER = struct.Struct(">ihi")
#: Partition, error, high watermark, last stable offset, start of the log.
_PART = struct.Struct(">ihqqq")
_ABORTED = struct.Struct(">qq")
_DIVERGING, _LEADER = struct.Struct(">iq"), struct.Struct(">ii")
_DIVERGING_TAG, _LEADER_TAG = 0, 1


class Place(NamedTuple):
    """From where a partition is read on."""

    offset: int
    #: Of the partition's leader, as we know it; -1 = not known.
    leader_epoch: int
    #: Of the record before; -1 = not known.
    record_epoch: int


class Limits(NamedTuple):
    """How much one fetch may bring, and how long it may wait."""

    max_wait_ms: int
    min_bytes: int
    max_bytes: int
    partition_max_bytes: int


class Aborted(NamedTuple):
    """A transaction that was aborted."""

    producer_id: int
    first_offset: int


class Diverging(NamedTuple):
    """Where the broker's log and ours part."""

    epoch: int
    end_offset: int


class Leader(NamedTuple):
    """Who leads a partition now."""

    leader_id: int
    leader_epoch: int


@dataclass(slots=True)
class Part:
    """What came of one partition; the names are kafka-python's, which goes on from here."""

    partition_index: int
    error_code: int
    high_watermark: int
    aborted_transactions: list[Aborted]
    preferred_read_replica: int
    records: bytes
    diverging_epoch: Diverging | None = None
    current_leader: Leader | None = None


@dataclass(slots=True)
class Topic:
    """What came of one topic."""

    topic: str
    partitions: list[Part]


@dataclass(slots=True)
class Fetched:
    """An answer."""

    API_VERSION: ClassVar[int] = FETCH_VERSION
    throttle_time_ms: int
    error_code: int
    session_id: int
    responses: list[Topic] = field(default_factory=list)


def fetch(
    session: tuple[int, int],
    places: Mapping[TopicPartition, Place],
    forgotten: Iterable[TopicPartition],
    *,
    limits: Limits,
    isolation: int,
    rack: str,
) -> Frame:
    """A request for what is new in a session (KIP-227).

    Args:
        session: its id and epoch.
        places: partitions that are new in it, or have moved.
        forgotten: partitions that leave it.
        limits: of the answer.
        isolation: 1 = only what is committed.
        rack: of the reader; empty = not said.

    """
    by_topic: dict[str, list[bytes]] = {}
    for place, start in places.items():
        by_topic.setdefault(place.topic, []).append(
            _PLACE.pack(
                place.partition, start.leader_epoch, start.offset, start.record_epoch, -1, limits.partition_max_bytes
            )
            + NO_TAGS
        )
    left: dict[str, list[bytes]] = {}
    for place in forgotten:
        left.setdefault(place.topic, []).append(_INT.pack(place.partition))
    body = [_START.pack(_CONSUMER, limits.max_wait_ms, limits.min_bytes, limits.max_bytes, isolation, *session)]
    for group in (by_topic, left):
        body.append(unsigned(len(group) + 1))
        for topic, parts in group.items():
            body += (text(topic), unsigned(len(parts) + 1), *parts, NO_TAGS)
    body += (text(rack), NO_TAGS)
    return Frame(FETCH, FETCH_VERSION, b"".join(body))


def fetched(data: memoryview, at: int) -> Fetched:
    """An answer, from its body that begins at `at`."""
    answer = Fetched(*_ANSWER.unpack_from(data, at))
    topics, at = read_unsigned(data, at + _ANSWER.size)
    for _ in range(topics - 1):
        name, at = read_text(data, at)
        count, at = read_unsigned(data, at)
        parts: list[Part] = []
        for _ in range(count - 1):
            part, at = _part(data, at)
            parts.append(part)
        at = skip_tags(data, at)
        answer.responses.append(Topic(name or "", parts))
    return answer


def _part(data: memoryview, at: int) -> tuple[Part, int]:
    number, code, watermark, _, _ = _PART.unpack_from(data, at)
    count, at = read_unsigned(data, at + _PART.size)
    aborted: list[Aborted] = []
    for _ in range(count - 1):
        aborted.append(Aborted(*_ABORTED.unpack_from(data, at)))
        at = skip_tags(data, at + _ABORTED.size)
    replica = _INT.unpack_from(data, at)[0]
    size, at = read_unsigned(data, at + _INT.size)
    end = at + max(size - 1, 0)
    part = Part(number, code, watermark, aborted, replica, bytes(data[at:end]))
    tags, at = read_unsigned(data, end)
    for _ in range(tags):
        tag, at = read_unsigned(data, at)
        size, at = read_unsigned(data, at)
        if tag == _DIVERGING_TAG:
            part.diverging_epoch = Diverging(*_DIVERGING.unpack_from(data, at))
        elif tag == _LEADER_TAG:
            part.current_leader = Leader(*_LEADER.unpack_from(data, at))
        at += size
    return part, at
