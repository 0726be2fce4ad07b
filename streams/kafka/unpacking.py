"""What a consumer has fetched, taken apart: kafka-python's way of doing it, at half of its cost.

The library reads each field of a record by a call and wraps the record twice; for small records that is most of what
consuming costs. Here a batch is read in one loop. What decides which batches are to be seen (checksums, transactions
that were aborted, control batches) is asked of the library, in its order.

Source of the layout: Apache Kafka, "Message Format", section "Record".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import kafka.errors as kafka_errors
from kafka.consumer.fetcher import ConsumerRecord, Fetcher, IsolationLevel

if TYPE_CHECKING:
    from collections.abc import Iterator

_theirs = Fetcher.PartitionRecords._unpack_records  # noqa: SLF001 - the one place where fetched records are read
_new = tuple.__new__
#: Records of a batch whose headers are not like those before, after which it is no longer tried.
_MISSES = 8
_ASCII = bytes(range(128)) + b"?" * 128
#: Header names remembered: a topic has a dozen; strangers may send any.
_NAMES_REMEMBERED = 4096
_names: dict[bytes, str] = {}


def install() -> None:
    """Read so in every consumer of this process. May be called more than once."""
    Fetcher.PartitionRecords._unpack_records = _unpack  # noqa: SLF001 - see above


def _unpack(fetched: Any, place: Any, batches: Any, key_deserializer: Any, value_deserializer: Any) -> Iterator[Any]:
    """The records of a fetch, in order, without those that are not to be seen."""
    if key_deserializer is not None or value_deserializer is not None:
        yield from _theirs(fetched, place, batches, key_deserializer, value_deserializer)
        return
    last = None
    while (batch := batches.next_batch()) is not None:
        if batch.magic != 2:  # noqa: PLR2004 - the record format of brokers since 0.11
            yield from _theirs(fetched, place, _From(batch, batches), None, None)
            return
        last = batch
        if fetched.check_crcs and not batch.validate_crc():
            msg = f"a batch of {place.topic}/{place.partition} at offset {batch.base_offset} fails its checksum"
            raise kafka_errors.CorruptRecordError(msg)
        fetched.leader_epoch = batch.leader_epoch
        # Asked of control batches too: they end what was aborted.
        if _aborted(fetched, batch) or batch.is_control_batch:
            fetched.next_fetch_offset = batch.next_offset
            continue
        # For the library's own metrics.
        fetched.records_read += batch.records_count
        fetched.bytes_read += batch.size_in_bytes
        yield from _records(fetched, place, batch)
    # The last offset of a batch stands in its head even where compaction has taken the record: the next fetch goes on
    # behind it.
    if last is not None:
        fetched.next_fetch_offset = last.next_offset
    fetched.drain()


def _aborted(fetched: Any, batch: Any) -> bool:
    if fetched.isolation_level != IsolationLevel.READ_COMMITTED or not batch.has_producer_id():
        return False
    fetched._consume_aborted_transactions_up_to(batch.last_offset)  # noqa: SLF001 - see above
    if fetched._contains_abort_marker(batch):  # noqa: SLF001 - see above
        fetched.aborted_producer_ids.discard(batch.producer_id)
        return False
    return bool(fetched._is_batch_aborted(batch))  # noqa: SLF001 - see above


class _From:
    """A batch that was taken out, then the rest."""

    def __init__(self, first: Any, rest: Any) -> None:
        self._first, self._rest = first, rest

    def next_batch(self) -> Any:
        """The next one, `None` at the end."""
        first, self._first = self._first, None
        return self._rest.next_batch() if first is None else first


def _records(fetched: Any, place: Any, batch: Any) -> Iterator[Any]:
    iter(batch)  # decompresses
    data, at, end = bytes(batch._buffer), batch._pos, len(batch._buffer)  # noqa: SLF001 - see above
    topic, partition = place
    epoch, base, kind = batch.leader_epoch, batch.base_offset, batch.timestamp_type
    first, latest = batch.first_timestamp, batch.max_timestamp
    before, misses = _NOTHING, 0
    try:
        for _ in range(batch.records_count):
            length, at = _number(data, at)
            stop = at + length
            delta, at = _number(data, at + 1)
            offset, at = _number(data, at)
            key, at = _bytes(data, at)
            value, at = _bytes(data, at)
            like = before.read(data, at, stop)
            if like is None:
                headers, ends = _headers(data, at)
                # Where each has other headers (a deadline, a trace) there is nothing to be learnt.
                before = _Alike.of(data, at, ends, headers) if misses < _MISSES else _NOTHING
                misses += 1
                at = ends
            else:
                headers, at = like, stop
            if at != stop or at > end:
                raise _corrupt(topic, partition, base)
            offset += base
            fetched.next_fetch_offset = offset + 1
            # As the class would, without the Python function that its call is.
            yield _new(
                ConsumerRecord,
                (
                    topic, partition, epoch, offset, latest if kind else first + delta, kind, key, value, headers, None,
                    -1 if key is None else len(key), -1 if value is None else len(value), -1,
                ),
            )  # fmt: skip
    except IndexError as error:
        raise _corrupt(topic, partition, base) from error


def _corrupt(topic: str, partition: int, base: int) -> kafka_errors.CorruptRecordError:
    return kafka_errors.CorruptRecordError(
        f"a batch of {topic}/{partition} at offset {base} does not hold the records that it declares"
    )


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A signed number in zigzag base-128, and where it ends."""
    byte = data[at]
    if byte < 0x80:  # noqa: PLR2004 - one byte of seven bits, as most are
        return (byte >> 1) ^ -(byte & 1), at + 1
    result, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        result |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte
            return (result >> 1) ^ -(result & 1), at + 1
        shift += 7
        if shift > 63:  # noqa: PLR2004 - bits of the longest number
            raise IndexError(at)


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = _number(data, at)
    if length < 0:
        return None, at
    return data[at : at + length], at + length


def _headers(data: bytes, at: int) -> tuple[list[tuple[str, bytes | None]], int]:
    count, at = _number(data, at)
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        length, at = _number(data, at)
        raw = data[at : at + length]
        name = _names.get(raw)
        value, at = _bytes(data, at + length)
        headers.append((_name(raw) if name is None else name, value))
    if count < 0:
        raise IndexError(at)
    return headers, at


@dataclass(frozen=True, slots=True)
class _Alike:
    """What most records of a batch have in common: the same headers, of which only the first has another value.

    The first is the request's id, as `InferenceClient` writes it. Bytes that are the same say the same, so nothing of
    a record is taken for granted.
    """

    #: From the number of headers to the first one's name; empty = nothing is known.
    prefix: bytes
    name: str
    #: All behind the first one's value.
    suffix: bytes
    rest: tuple[tuple[str, bytes | None], ...]

    @classmethod
    def of(cls, data: bytes, at: int, ends: int, headers: list[tuple[str, bytes | None]]) -> _Alike:
        """Learn from headers that lie in `data` from `at` to `ends`."""
        if not headers or headers[0][1] is None:
            return _NOTHING
        _, begins = _number(data, at)
        length, begins = _number(data, begins)
        named = begins + length
        _, value = _number(data, named)
        (name, content), *rest = headers
        return cls(data[at:named], name, data[value + len(content or b"") : ends], tuple(rest))

    def read(self, data: bytes, at: int, stop: int) -> list[tuple[str, bytes | None]] | None:
        """The headers from `at` to `stop`; `None` = they are not alike."""
        if not self.prefix or not data.startswith(self.prefix, at):
            return None
        at += len(self.prefix)
        size = data[at]
        value, ends = at + 1, at + 1 + (size >> 1)
        # A length of one byte that is not negative: seven bits, the lowest of them the sign.
        if size & 0x81 or ends + len(self.suffix) != stop or not data.startswith(self.suffix, ends):
            return None
        return [(self.name, data[value:ends]), *self.rest]


_NOTHING = _Alike(b"", "", b"", ())


def _name(raw: bytes) -> str:
    """A header's name; one that is not UTF-8, with `?` for what is not ASCII (see `streams.kafka.guards`)."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        name = raw.translate(_ASCII).decode()
    if len(_names) >= _NAMES_REMEMBERED:
        _names.clear()
    _names[raw] = name
    return name
