"""Fetched records are taken apart as kafka-python does it, and faster."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.consumer.fetcher import Fetcher, IsolationLevel
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from streams.kafka import unpacking

if TYPE_CHECKING:
    from collections.abc import Callable

PLACE = TopicPartition("t", 3)
RECORDS = st.lists(
    st.tuples(
        st.integers(0, 2**41),
        st.none() | st.binary(max_size=300),
        st.none() | st.binary(max_size=300) | st.just(b"v" * 20_000),
        st.lists(st.tuples(st.text(max_size=80), st.none() | st.binary(max_size=100)), max_size=6),
    ),
    min_size=1,
    max_size=30,
)


def raw(records: list[Any], codec: int = 0) -> bytes:
    """A batch of them."""
    builder = MemoryRecordsBuilder(2, codec, 10**7)
    for stamp, key, value, headers in records:
        builder.append(stamp, key, value, headers)
    builder.close()
    return bytes(builder.buffer())


def read(data: bytes, way: Callable[..., Any]) -> tuple[list[Any], int]:
    """The records, and where the next fetch begins."""
    fetched = Fetcher.PartitionRecords(0, PLACE, MemoryRecords(b""), isolation_level=IsolationLevel.READ_COMMITTED)
    return list(way(fetched, PLACE, MemoryRecords(data), None, None)), fetched.next_fetch_offset


@given(RECORDS, st.sampled_from([0, 1]), st.booleans())
def test_both_ways_read_the_same(records: list[Any], codec: int, twice: bool) -> None:
    """Plain and compressed, one batch and two; but for the size of the headers, which nobody asks for."""
    data = raw(records, codec) * (2 if twice else 1)
    ours, theirs = read(data, unpacking._unpack), read(data, unpacking._theirs)
    assert ours[1] == theirs[1]
    assert [one._replace(serialized_header_size=-1) for one in theirs[0]] == ours[0]


#: Few different ones, so that records after one another have the same headers, or nearly: what is remembered of the one
#: before must never be taken for what the next one says.
_HEADER = st.tuples(st.sampled_from(["", "id", "idx", "no"]), st.sampled_from([None, b"", b"i", b"id", b"x" * 64]))


@given(st.lists(st.lists(_HEADER, max_size=3), min_size=2, max_size=40))
def test_both_ways_read_the_same_where_headers_are_alike(headers: list[Any]) -> None:
    """But for the value of the first, or for a byte, or for one more."""
    data = raw([(1, b"k", b"v", some) for some in headers])
    ours, theirs = read(data, unpacking._unpack), read(data, unpacking._theirs)
    assert ours[1] == theirs[1]
    assert [one._replace(serialized_header_size=-1) for one in theirs[0]] == ours[0]


def test_a_byte_that_differs_behind_the_first_header_is_read() -> None:
    """As long as the one before, and with the same names."""
    wanted = [[("request-id", b"r%d" % number), ("model-version", b"%d" % (number % 3))] for number in range(9)]
    found, _ = read(raw([(1, b"k", b"v", some) for some in wanted]), unpacking._unpack)
    assert [one.headers for one in found] == wanted


def test_headers_that_repeat_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of one kind of request: an id, and what is the same in each."""
    calls: list[int] = []
    careful = unpacking._headers

    def counted(data: bytes, at: int) -> Any:
        calls.append(at)
        return careful(data, at)

    monkeypatch.setattr(unpacking, "_headers", counted)
    wanted = [[("request-id", b"r%d" % number), ("content-type", b"json")] for number in range(20)]
    found, _ = read(raw([(1, b"k", b"v", some) for some in wanted]), unpacking._unpack)
    assert [one.headers for one in found] == wanted
    assert len(calls) == 1


def test_headers_that_never_repeat_are_soon_no_longer_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline or a trace in each: what is learnt of one is of no use for the next."""
    learnt: list[int] = []
    of = unpacking._Alike.of

    def counted(*facts: Any) -> Any:
        learnt.append(1)
        return of(*facts)

    monkeypatch.setattr(unpacking._Alike, "of", counted)
    wanted = [[("request-id", b"r"), ("deadline-ms", b"%d" % number)] for number in range(1000, 1100)]
    found, _ = read(raw([(1, b"k", b"v", some) for some in wanted]), unpacking._unpack)
    assert [one.headers for one in found] == wanted
    assert len(learnt) <= 8


@given(RECORDS, st.data())
def test_a_damaged_batch_is_refused_as_such(records: list[Any], data: st.DataObject) -> None:
    """Never another error, whatever bytes a broker sends."""
    whole = bytearray(raw(records))
    at = data.draw(st.integers(61, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(kafka_errors.CorruptRecordError):
        read(bytes(whole), unpacking._unpack)


@given(RECORDS, st.data())
def test_without_checksums_a_damaged_batch_ends_in_records_or_in_its_error(
    records: list[Any], data: st.DataObject
) -> None:
    """With `check_crcs` off nothing else may come out of it: no endless loop, no other error."""
    whole = bytearray(raw(records))
    whole[data.draw(st.integers(61, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    fetched = Fetcher.PartitionRecords(0, PLACE, MemoryRecords(b""), check_crcs=False)
    try:
        found = list(unpacking._unpack(fetched, PLACE, MemoryRecords(bytes(whole)), None, None))
    except kafka_errors.CorruptRecordError:
        return
    assert len(found) == len(records)


def test_a_name_that_is_not_utf_8_is_changed_and_read() -> None:
    """One record of a stranger must not stop a partition."""
    data = raw([(1, b"k", b"v", [("abc", b"1")])])
    with_bad_name = bytearray(data.replace(b"abc", b"a\xffc"))
    fetched = Fetcher.PartitionRecords(0, PLACE, MemoryRecords(b""), check_crcs=False)
    (record,) = unpacking._unpack(fetched, PLACE, MemoryRecords(bytes(with_bad_name)), None, None)
    assert record.headers == [("a?c", b"1")]


def test_a_consumer_reads_this_way() -> None:
    """Consumers of this package have neither deserialisers nor anything else that would take the library's way."""
    told: list[Any] = []
    aggregator = SimpleNamespace(record=lambda *facts: told.append(facts))
    data = raw([(1, b"k", b"v", []), (2, b"k", b"w", [])])
    fetched = Fetcher.PartitionRecords(0, PLACE, MemoryRecords(data), metric_aggregator=aggregator)
    assert fetched.record_iterator is not None
    found = fetched.take()
    assert [record.value for record in found] == [b"v", b"w"]
    assert all(record.serialized_header_size == -1 for record in found), "the library would have counted"
    assert told == [(PLACE, len(data), 2)]


def test_a_reader_with_deserialisers_gets_the_librarys_way() -> None:
    """They are of no use to us, and a user's own consumer may have them."""
    upper = SimpleNamespace(deserialize=lambda _topic, _headers, data: data.upper())
    fetched = Fetcher.PartitionRecords(0, PLACE, MemoryRecords(b""))
    (record,) = unpacking._unpack(fetched, PLACE, MemoryRecords(raw([(1, b"k", b"v", [])])), None, upper)
    assert record.value == b"V"
