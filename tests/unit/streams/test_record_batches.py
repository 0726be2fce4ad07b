"""What is encoded by the transaction is what Kafka's own format says, as kafka-python reads it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import codec
from kafka.record.memory_records import MemoryRecords
from kafka.record.util import decode_varint

from streams.errors import KafkaFailure
from streams.kafka.compression import codec_of
from streams.kafka.record_batches import Codec, encode, varint
from streams.records import Outgoing, SharedHeaders

PLAIN = Codec(0, bytes)
BYTES = st.none() | st.binary(max_size=200) | st.just(b"x" * 9000)
HEADERS = st.lists(st.tuples(st.text(max_size=12), st.binary(max_size=40)), max_size=5)
RECORDS = st.lists(
    st.builds(
        Outgoing,
        topic=st.sampled_from(["a", "b"]),
        key=BYTES,
        value=BYTES,
        headers=HEADERS,
        partition=st.integers(0, 2),
        timestamp_ms=st.none() | st.integers(1_000, 2_000_000_000_000),
        shared=st.none() | st.builds(SharedHeaders, HEADERS.map(tuple)),
    ),
    min_size=1,
    max_size=40,
)


@given(st.integers(-(2**63), 2**63 - 1))
def test_numbers_come_back(value: int) -> None:
    """All of 64 bits."""
    encoded = varint(value)
    assert decode_varint(bytearray(encoded)) == (value, len(encoded))


def read(raw: bytes) -> tuple[Any, list[Any]]:
    """A batch and its records, checksum checked."""
    (batch,) = list(MemoryRecords(raw))
    assert batch.validate_crc()
    return batch, list(batch)


@given(RECORDS, st.sampled_from([100, 5_000, 1_000_000]))
def test_records_come_back_in_order(records: list[Outgoing], most_bytes: int) -> None:
    """Each in its partition, with key, value, headers and time, whatever the batches are cut to."""
    places = [record.partition or 0 for record in records]
    seen: dict[tuple[str, int], list[Any]] = {}
    for made in encode(records, places, now_ms=5_000, most_bytes=most_bytes):
        batch, found = read(made.sealed(producer_id=9, epoch=3, sequence=17, codec=PLAIN))
        assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (9, 3, 17)
        assert batch.is_transactional
        assert len(found) == made.count
        # By it the broker finds records by time, and deletes old ones.
        assert batch.max_timestamp == max(one.timestamp for one in found)
        assert made.count == 1 or len(made.body) <= most_bytes
        assert records[made.first].topic == made.topic
        seen.setdefault((made.topic, made.partition), []).extend(found)
    for place, found in seen.items():
        sent = [one for one in records if (one.topic, one.partition) == place]
        assert [(one.key, one.value, one.headers, one.timestamp) for one in found] == [
            (one.key, one.value, one.all_headers, 5_000 if one.timestamp_ms is None else one.timestamp_ms)
            for one in sent
        ]
    assert sum(map(len, seen.values())) == len(records)


def test_a_compression_that_is_not_there_is_named_with_those_that_are() -> None:
    """At the start, rather than with the first results."""
    assert codec_of("gzip").number == 1
    assert codec_of(None).number == 0
    with pytest.raises(KafkaFailure, match=r"compression_type='lz5'.*use none, gzip"):
        codec_of("lz5")


@pytest.mark.parametrize(("number", "compress"), [(1, codec.gzip_encode)])
def test_a_compressed_batch_comes_back(number: int, compress: Any) -> None:
    """As the user's `compression_type` says."""
    records = [Outgoing("a", b"k", b"v" * 500, [("h", b"1")], 0) for _ in range(20)]
    (made,) = encode(records, [0] * 20, now_ms=1, most_bytes=10**6)
    raw = made.sealed(producer_id=1, epoch=0, sequence=0, codec=Codec(number, compress))
    assert len(raw) < 1000
    assert [one.value for one in read(raw)[1]] == [b"v" * 500] * 20
