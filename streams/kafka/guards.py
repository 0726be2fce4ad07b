"""Two faults of kafka-python 3.0, guarded for the whole process when `streams.kafka` is imported.

A header's name that is not UTF-8 must not stop a partition. Kafka takes any bytes as a header's name; kafka-python
decodes names strictly while it unpacks a batch, gives up on the batch with `CorruptRecordError`, and stays before it
for good: one record of a stranger would stop all workers of a partition, one after the other. So such a name is changed
in the fetched copy, byte by byte to `?`, and then the record is read like any other. Nothing of ours goes by such
names, and records without them take the library's way untouched.

A connection that fails must close its socket. kafka-python leaves that to the garbage collector, which comes late in a
process that tries again every second while a broker is away.
"""

from __future__ import annotations

from typing import Any

from kafka.net.inet import KafkaNetSocket
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint

_connect = KafkaNetSocket.sock_connect
_read = DefaultRecordBatch._read_msg  # noqa: SLF001 - the one place where a record is unpacked
_ASCII = bytes(range(128)) + b"?" * 128


def install() -> None:
    """Guard every client of this process. May be called more than once."""
    DefaultRecordBatch._read_msg = _read_guarded  # noqa: SLF001 - see above
    KafkaNetSocket.sock_connect = _connect_guarded


async def _connect_guarded(network: Any, loop: Any, sock: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return await _connect(network, loop, sock, *args, **kwargs)
    except BaseException:
        sock.close()
        raise


def _read_guarded(batch: Any, *args: Any) -> Any:
    try:
        return _read(batch, *args)
    except UnicodeDecodeError:
        # The position moves only when a record was read, so it is still at the start of this one.
        batch._buffer = _with_ascii_names(bytearray(batch._buffer), batch._pos)  # noqa: SLF001
        return _read(batch, *args)


def _with_ascii_names(buffer: bytearray, position: int) -> bytearray:
    """The buffer with the header names of the record at `position` in ASCII, where they were not UTF-8.

    The layout is Kafka's record format v2: length, attributes, timestamp and offset deltas, key, value, headers.
    """
    for _ in range(4):
        _, position = decode_varint(buffer, position)
    for _ in ("key", "value"):
        size, position = decode_varint(buffer, position)
        position += max(size, 0)
    count, position = decode_varint(buffer, position)
    for _ in range(count):
        size, position = decode_varint(buffer, position)
        name = buffer[position : position + size]
        try:
            name.decode()
        except UnicodeDecodeError:
            buffer[position : position + size] = name.translate(_ASCII)
        position += size
        size, position = decode_varint(buffer, position)
        position += max(size, 0)
    return buffer
