"""Faults of kafka-python 3.0, guarded for the whole process when `streams.kafka` is imported.

A header's name that is not UTF-8 must not stop a partition. Kafka takes any bytes as a header's name; kafka-python
decodes names strictly while it unpacks a batch, gives up on the batch with `CorruptRecordError`, and stays before it
for good: one record of a stranger would stop all workers of a partition, one after the other. So such a name is changed
in the fetched copy, byte by byte to `?`, and then the record is read like any other. Nothing of ours goes by such
names, and records without them take the library's way untouched.

A connection that fails must close its socket. kafka-python leaves that to the garbage collector, which comes late in a
process that tries again every second while a broker is away.

A transactional request whose coordinator has died must be tried at the next one. kafka-python's sender looks the next
one up and then forgets the request, if the connection failed rather than timed out; and the thread that asked waits for
the answer without any limit: a worker would hang for good after the loss of one broker of three.

A consumer that knows its coordinator must not ask its I/O thread whether it does. kafka-python does so at each poll:
two changes of thread, several milliseconds while another thread computes, for an answer that lies in a field.

What a broker says before it closes a connection must be heard. kafka-python throws away what it received together with
the end of the connection, which over TLS is the rule: a refused password looked like a broker that is away.
"""

from __future__ import annotations

from typing import Any

import kafka.errors as kafka_errors
from kafka.coordinator.base import BaseCoordinator
from kafka.net.inet import KafkaNetSocket
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport
from kafka.producer.transaction_manager import TransactionalRequestResult
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint

#: Longest wait for the answer to a transactional request where the library sets none, in milliseconds; as long as its
#: own longest wait for metadata or buffer space here.
LONGEST_WAIT_MS = 10_000

_wait = TransactionalRequestResult.wait
_connect = KafkaNetSocket.sock_connect
_read = DefaultRecordBatch._read_msg  # noqa: SLF001 - the one place where a record is unpacked
_ensure_coordinator = BaseCoordinator.ensure_coordinator_ready
_close_transport = KafkaTCPTransport.close
_handshake = KafkaSSLTransport.handshake
_RECEIVERS = {transport: transport._sock_recv for transport in (KafkaTCPTransport, KafkaSSLTransport)}  # noqa: SLF001
_ASCII = bytes(range(128)) + b"?" * 128


def install() -> None:
    """Guard every client of this process. May be called more than once."""
    DefaultRecordBatch._read_msg = _read_guarded  # noqa: SLF001 - see above
    KafkaNetSocket.sock_connect = _connect_guarded
    TransactionalRequestResult.wait = _wait_guarded
    BaseCoordinator.ensure_coordinator_ready = _ensure_coordinator_guarded
    KafkaSSLTransport.handshake = _handshake_guarded
    KafkaTCPTransport.close = _close_guarded
    for transport, receive in _RECEIVERS.items():
        transport._sock_recv = _receive_guarded(receive)  # noqa: SLF001 - see above


def retry_transactional_requests(producer: Any) -> None:
    """Have a transactional producer try a request again whose coordinator cannot be reached; see above."""
    client = producer._sender._client  # noqa: SLF001 - the sender gives up a request only where this raises
    ready = client.await_ready

    def await_ready(*args: Any, **kwargs: Any) -> bool:
        try:
            return bool(ready(*args, **kwargs))
        except kafka_errors.KafkaError:
            return False

    client.await_ready = await_ready


def _wait_guarded(result: Any, timeout_ms: float | None = None) -> bool:
    answered = bool(_wait(result, LONGEST_WAIT_MS if timeout_ms is None else timeout_ms))
    if timeout_ms is None and not answered:
        raise kafka_errors.KafkaTimeoutError(f"a transactional request has no answer after {LONGEST_WAIT_MS} ms")
    return answered


async def _connect_guarded(network: Any, loop: Any, sock: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return await _connect(network, loop, sock, *args, **kwargs)
    except BaseException:
        sock.close()
        raise


def _ensure_coordinator_guarded(coordinator: Any, timeout_ms: float | None = None) -> Any:
    return True if not coordinator.coordinator_unknown() else _ensure_coordinator(coordinator, timeout_ms)


async def _handshake_guarded(transport: Any) -> None:
    try:
        await _handshake(transport)
    except BaseException:
        sock = transport._sock  # noqa: SLF001 - nobody else holds it yet
        try:
            transport._close()  # noqa: SLF001
        finally:
            if sock is not None:
                sock.close()
        raise


def _close_guarded(transport: Any) -> None:
    """Close now: what could not be sent by then is left to an event loop that may have ended."""
    if transport._write_buffer and not transport._closed and transport._sock is not None:  # noqa: SLF001
        transport._sock_send()  # noqa: SLF001
        transport._write_buffer.clear()  # noqa: SLF001
    _close_transport(transport)


def _receive_guarded(receive: Any) -> Any:
    """Received bytes first, their connection's end at the next call, which meets it again."""

    def guarded(transport: Any) -> Any:
        if transport._sock is None:  # noqa: SLF001 - closed by another task after this one was woken
            return b"", kafka_errors.KafkaConnectionError("closed")
        data, error = receive(transport)
        return (data, None) if data else (data, error)

    return guarded


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
